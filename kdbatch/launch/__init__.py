"""Starts a Plan on this machine or on SLURM, and answers for it: run folders, status, logs, cancel,
doctor.

What is particular to SLURM is in `slurm/`, the queue of this machine in `local/`, the Apptainer
image in `container/`.
"""
