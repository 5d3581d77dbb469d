"""Networks from elsewhere: their files are read, checked, and kept as runs."""
