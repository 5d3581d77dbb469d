"""The request of a job to SLURM, and what a study keeps in mind between its jobs."""
