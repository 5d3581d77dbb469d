"""Starts a Plan on this machine or on SLURM: run folders, status, logs, cancel, doctor.

SLURM has its package, and so have the queue of this machine and the Apptainer image.
"""
