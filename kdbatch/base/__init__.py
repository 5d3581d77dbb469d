"""Helpers that know nothing of video or training: errors, lookup of names, parsing into types,
atomic writes, locks, processes, text.

Standard library only. Every other room may import this one; it imports none.
"""
