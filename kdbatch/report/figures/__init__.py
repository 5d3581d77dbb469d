"""Figures, one kind per module, all in one style and without pyplot."""
