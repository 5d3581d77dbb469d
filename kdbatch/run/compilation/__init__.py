"""Compiled networks on a GPU: whether they pay, and where compiled code is kept."""
