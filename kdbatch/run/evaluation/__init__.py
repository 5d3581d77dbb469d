"""Measurements of trained networks: test accuracy, retrieval, choice of the best epoch."""
