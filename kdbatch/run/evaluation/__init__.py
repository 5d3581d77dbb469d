"""Measures trained networks: accuracy on test splits, retrieval, choice of the best epoch."""
