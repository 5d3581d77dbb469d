"""Tells what to write in place of a value of the wrong type."""

import datetime
import re
from typing import Any

from kdbatch.base.reading.shown_values import shown

TYPE_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_WITHOUT_QUOTES = {
    int: r"[-+]?\d+",
    float: r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?",
    bool: "true|false",
}


def remedy_of_table(where: str) -> str:
    """The end of a message: how names with values are written; `where` begins with the file."""
    if _is_toml(where):
        return " Write NAME = VALUE, one per line, below a line [TABLE]."
    return " Write NAME: VALUE, one per line and indented, or {NAME: VALUE}."


def remedy_of_type(hint: Any, raw: Any, where: str) -> str:
    """The end of a message: the same value as it should be written; empty where unknown."""
    if raw is None:
        return " Write a value, or delete the line."
    if isinstance(raw, bool) and hint is str:
        if _is_toml(where):
            return f' Write it in quotes: "{shown(raw)}".'
        return (
            " YAML reads yes, no, on, off, true and false as true or false: "
            "write the word in quotes."
        )
    if hint is str and isinstance(raw, int | float | datetime.date):
        return f' Write it in quotes: "{shown(raw)}".'
    if hint is int and isinstance(raw, float) and raw.is_integer() and abs(raw) < 1e15:
        return f" Write it without a point: {raw:.0f}."
    text = raw.strip().lower() if isinstance(raw, str) else ""
    if 0 < len(text) <= 40 and re.fullmatch(_WITHOUT_QUOTES.get(hint, ""), text):
        return f" Write it without quotes: {text}."
    return ""


def _is_toml(where: str) -> bool:
    return ".toml:" in where
