"""Formats counts, durations and raw values for messages."""

import datetime
from typing import Any

MAX_SHOWN = 60


def plural(num: int, noun: str) -> str:
    """`1 run`, `3 runs`."""
    return f"{num:,} {noun}" if num == 1 else f"{num:,} {noun}s"


def duration(seconds: float) -> str:
    """A duration in its unit: `42 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def shown(raw: Any) -> str:
    """A raw value as a message shows it, in one line, cut to 60 characters."""
    if raw is None or isinstance(raw, bool):
        return "nothing" if raw is None else str(raw).lower()
    if isinstance(raw, int):
        return shown_number(raw)
    if isinstance(raw, str | bytes):
        raw = raw[: MAX_SHOWN + 1]  # a text of megabytes
    try:
        text = str(raw) if isinstance(raw, datetime.date) else repr(raw)
    except (RecursionError, ValueError):  # thousands of lists in each other, or of digits
        return "a list of lists" if isinstance(raw, list) else "values within values"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def shown_number(number: float) -> str:
    """A number as a message shows it; a whole one of very many digits by their number."""
    if isinstance(number, float):
        return f"{number:.15g}"
    num_digits = int(number.bit_length() * 0.30103) + 1  # log10(2)
    return str(number) if num_digits <= 40 else f"a number of about {num_digits} digits"
