"""Texts, truth values and numbers that a file has for a field."""

import math
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.reading.remedies import TYPE_NAMES, remedy_of_type
from kdbatch.base.reading.shown_values import shown, shown_number


def scalar(hint: Any, raw: Any, where: str) -> Any:
    """The value, if it has the type `hint`; a whole number is a float as well.

    Raises:
        UserError: it has another type, or is not finite; the message starts with `where`.
    """
    if hint is float and isinstance(raw, int | float) and not isinstance(raw, bool):
        return _float(raw, where)
    if isinstance(raw, hint) and not (isinstance(raw, bool) and hint is not bool):
        return raw
    expected = TYPE_NAMES.get(hint, hint.__name__)
    kind = "the text " if isinstance(raw, str) else ""
    raise UserError(
        f"{where}: expected {expected}, found {kind}{shown(raw)}.{remedy_of_type(hint, raw, where)}"
    )


def _float(raw: float, where: str) -> float:
    """The number as a float, if that is finite."""
    try:
        number = float(raw)
    except OverflowError:  # a whole number of more than 308 digits
        number = math.inf
    if not math.isfinite(number):
        raise UserError(f"{where}: found {shown_number(raw)}. Write a finite number.")
    return number
