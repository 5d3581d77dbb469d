"""Similarity of layers by minibatch linear CKA, and numbers that describe the resulting maps."""
