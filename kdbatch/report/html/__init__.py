"""The page `index.html`: one module per part, everything inline."""
