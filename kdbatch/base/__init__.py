"""Helpers without knowledge of video or training: errors, parsing, atomic writes, locks, text.

Standard library only. Every room may import this one; it imports none.
"""
