"""One Run on one node: `python -m kdbatch.run RUN_DIR`."""
