"""Ways to get frames out of a stored video; run/decode.py is their door."""
