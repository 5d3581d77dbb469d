"""Writes small procedural stand-ins of the four data sets as real videos in published layouts."""
