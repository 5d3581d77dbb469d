"""One sbatch: what it is given, the call, and what is noted about it."""
