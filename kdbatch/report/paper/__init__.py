"""The files for a paper: methods from the recipes, tables, figures, BibTeX."""
