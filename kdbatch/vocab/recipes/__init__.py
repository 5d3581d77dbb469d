"""Recipes: everything that can change the numbers a run measures, and nothing else.

`recipe.py` has the union of all kinds; a kind has a module of its name.
"""
