"""Turns results into tables, figures, checked claims and one page that opens from disk."""
