"""Results -> tables, figures, checked claims and one page that opens from disk."""
