"""Comparison of a report with an earlier one: `kdbatch report --against OLD/report.json`."""
