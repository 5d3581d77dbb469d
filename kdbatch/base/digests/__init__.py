"""Digests of files: what was written is what is read."""
