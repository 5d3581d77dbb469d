"""Explains syntax errors of YAML: the line of the mistake, its key, and what to write."""
