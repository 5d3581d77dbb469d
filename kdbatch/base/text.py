"""Formats counts and durations for messages."""


def plural(num: int, noun: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{num:,} {noun}" if num == 1 else f"{num:,} {noun}s"


def duration(seconds: float) -> str:
    """A duration in its unit: `42 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
