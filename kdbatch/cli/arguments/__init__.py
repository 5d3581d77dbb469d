"""Checks what was typed before a command runs."""
