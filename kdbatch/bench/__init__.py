"""`kdbatch bench`: the cost of a part on this machine and of other tools, in one run."""
