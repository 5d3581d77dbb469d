"""Several processes that train one run: process group, collectives with gradient, synced layers."""
