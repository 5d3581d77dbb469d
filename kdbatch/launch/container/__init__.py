"""The Apptainer image: the command that starts a worker inside it, and the hash that names it."""
