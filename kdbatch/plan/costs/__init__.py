"""The expected cost of a plan: work of its runs, rates, wall time and sums."""
