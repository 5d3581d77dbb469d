"""Decodes chosen frames of stored videos, with a choice of decoders and an optional cache of
decoded frames.
"""
