from support.slurm import real_slurm, slurm, stand_in_package

__all__ = ["real_slurm", "slurm", "stand_in_package"]
