"""Everything that speaks to SLURM: arrays, the job script, submission, the reasons why jobs ended,
cancelling.
"""
