"""Layers that networks share, their fast forms for GPUs, and the folding of batch norms."""
