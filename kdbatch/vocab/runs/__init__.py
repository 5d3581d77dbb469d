"""Runs, and the files of their folders."""
