from support.slurm import real_slurm, slurm, stand_in_package
from support.studies import study_cache, write_study

__all__ = [
    "real_slurm",
    "slurm",
    "stand_in_package",
    "study_cache",
    "write_study",
]
