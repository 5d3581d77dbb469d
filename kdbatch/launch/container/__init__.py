"""The Apptainer image: the command that starts a worker in it, and the image's hash."""
