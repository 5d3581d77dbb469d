"""One attempt at a run: how it ends."""
