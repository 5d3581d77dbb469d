"""A Plan meets machines: run folders are written, then SLURM arrays or the local queue start `python -m kdbatch.run RUN_DIR`."""
