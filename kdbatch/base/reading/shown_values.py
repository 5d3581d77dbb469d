"""Raw values as messages show them: in one line, and short."""

import datetime
from typing import Any

MAX_SHOWN = 60  # characters
MAX_PROBLEM = 400


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


def shortened(problem: str) -> str:
    """The description of a mistake, which may quote a very long line of a file."""
    if len(problem) <= MAX_PROBLEM:
        return problem
    return f"{problem[:MAX_PROBLEM]}... (the line is very long)"
