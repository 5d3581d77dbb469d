"""`kdbatch bench data`: how many training clips a core gives, beside the usual ways of reading video, measured in one run."""
