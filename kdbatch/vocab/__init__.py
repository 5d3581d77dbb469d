"""The nouns that all rooms share: frozen, keyword-only dataclasses for data sets, shards, recipes,
runs, plans and statuses.

Imports only `base`. Nothing here reads videos, trains or talks to SLURM.
"""
