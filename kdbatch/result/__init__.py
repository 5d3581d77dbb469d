"""Rows: the schema of what runs measure, one writer, one reader."""
