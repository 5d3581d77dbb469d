"""The jobs that SLURM's queue has: for a submit, and for everybody who looks."""
