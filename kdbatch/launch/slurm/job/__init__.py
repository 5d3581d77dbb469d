"""The text of a job: its options, and the lines around the worker."""
