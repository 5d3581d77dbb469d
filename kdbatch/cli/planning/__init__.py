"""`kdbatch plan`: the command, and the text that it prints."""
