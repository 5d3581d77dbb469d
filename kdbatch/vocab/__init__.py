"""The nouns that all rooms share: data sets, shards, recipes, runs, plans and statuses.

Frozen, keyword-only dataclasses and the functions that read them. Nothing here reads videos,
trains or calls SLURM.
"""
