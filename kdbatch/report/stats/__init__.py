"""Statistics of the report: correctness, bootstrap, comparisons, claims and their verdicts."""
