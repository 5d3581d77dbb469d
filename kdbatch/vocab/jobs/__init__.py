"""The request of a job to SLURM."""
