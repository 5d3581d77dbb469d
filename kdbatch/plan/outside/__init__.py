"""Experiments whose runs another trainer makes, and the files of teachers from elsewhere."""
