"""The data of the report: plans, states and results of all runs, and the published numbers."""
