"""Turns job files into a Plan: every run that the experiments need, each once, as a value that can
be printed and compared.

Writes nothing.
"""
