"""`kdbatch bench data`: training clips per CPU-second beside the usual ways of reading video."""
