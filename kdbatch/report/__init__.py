"""Turns results into tables, figures, checked claims and one self-contained HTML page."""
