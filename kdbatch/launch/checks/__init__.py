"""`kdbatch doctor`: checks of this machine, of SLURM and of a node."""
