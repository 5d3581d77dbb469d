"""Writes small procedural stand-ins of the four data sets, as real encoded videos in the published
layouts.
"""
