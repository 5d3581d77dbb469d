"""Everything that calls SLURM: arrays, job script, submission, exit reasons, cancelling."""
