"""Formats counts for messages."""


def plural(num: int, noun: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{num:,} {noun}" if num == 1 else f"{num:,} {noun}s"
