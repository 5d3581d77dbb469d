"""Attempts at a run: how each started and ended, and whether another follows."""
