"""The state of one run: from its files, from its job, and as it was seen before."""
