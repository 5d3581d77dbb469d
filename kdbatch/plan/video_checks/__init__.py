"""Checks the videos of a subset, as the shard index describes them, against what runs need."""
