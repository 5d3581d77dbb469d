"""Tables: declared grids filled with numbers, and their text formats."""
