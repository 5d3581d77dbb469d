"""`kdbatch bench data`: training clips per CPU-second, and the usual ways of reading video."""
