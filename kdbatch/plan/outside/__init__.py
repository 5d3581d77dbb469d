"""Experiments whose runs another trainer makes."""
