"""Turns experiment files into a Plan: a value that lists each run that they need once.

A plan can be printed and compared. This package writes nothing.
"""
