"""Distillation from ensembles of self-supervised video networks, from raw videos to claims."""

__version__ = "0.2.0"
