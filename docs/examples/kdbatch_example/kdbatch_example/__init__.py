"""A network and a loss for kdbatch, as a model for packages of your own."""
