"""Figures, one kind per module, in one style and without pyplot."""
