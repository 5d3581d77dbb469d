"""Everything that is drawn on a terminal: the only package that uses rich."""
