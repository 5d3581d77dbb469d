"""What the report reads: plans, the state and results of every run, the published numbers."""
