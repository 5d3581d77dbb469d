"""Measurements of a GPU while it trains: the time without work, and its utilisation."""
