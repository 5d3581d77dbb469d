"""The runs that the cases of an experiment need: their recipes, ids and titles."""
