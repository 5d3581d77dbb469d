"""Texts that users write: their forms, and explanations of their mistakes."""
