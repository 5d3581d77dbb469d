"""Figures: each kind is a module that returns a drawing, which one module draws with matplotlib."""
