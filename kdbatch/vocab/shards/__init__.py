"""The stored videos of a data set: its index, and subsets of it."""
