"""What SLURM's queue has of a study: for a submit, and for everybody who looks."""
