"""Statistics of the report: correctness, bootstrap, comparisons, claims and their verdicts."""

STATISTICS_VERSION = 1
"""Raise it with a change by which equal results give other intervals, p-values or verdicts."""
