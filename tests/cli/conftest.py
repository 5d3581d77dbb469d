from support.slurm import real_slurm, slurm, stand_in_package
from support.studies import one_seed, partial, shelf, studied, written

__all__ = [
    "one_seed",
    "partial",
    "real_slurm",
    "shelf",
    "slurm",
    "stand_in_package",
    "studied",
    "written",
]
