"""Decodes frames of stored videos: a choice of decoders, and a cache of decoded frames."""
