"""What the report reads: the plans, the state and results of every run, the published numbers."""
