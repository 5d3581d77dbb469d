"""Measures trained networks: accuracy on test splits, retrieval, and the choice of the best epoch."""
