"""Videos on disk become tars and `index.json`."""
