"""`kdbatch bench step`: clips per second of training steps, of a plain loop and of their parts."""
