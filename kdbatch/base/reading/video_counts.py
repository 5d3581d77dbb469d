"""Numbers of videos as users write them: `50k`, `10%`, `2000`, `1.5m` or `all`."""

import re
from fractions import Fraction

from kdbatch.base.errors import UserError
from kdbatch.base.reading.shown_values import shown

MANY = 10**15  # more videos than there are


def parse_video_count(text: str, total: int, *, where: str) -> int:
    """The number of videos that `50k`, `10%`, `2000`, `1.5m` or `all` stands for, out of `total`.

    A percentage is rounded down.

    Raises:
        UserError: `text` is no such number, or is more than `total`.
    """
    number = _parse_number(text.strip().lower().replace("_", ""), total)
    if number is None or number < 1:
        raise _invalid(text, where=where)
    if number > total:
        raise UserError(
            f"{where}: {text} videos asked for, but there are only {total}. "
            f"Write all, or at most {total}."
        )
    return int(number)


def check_video_count(text: str, *, where: str) -> None:
    """Checks the form of a count before it is known how many videos there are.

    Raises:
        UserError: it is neither a count, nor a share of at most 100 %, nor `all`.
    """
    number = _parse_number(text.strip().lower().replace("_", ""), MANY)
    if number is None or not 1 <= number <= MANY:
        raise _invalid(text, where=where)


def _invalid(text: str, *, where: str) -> UserError:
    return UserError(
        f"{where}: {shown(text)} is not a valid subset. "
        "Use a count (2000, 50k), a share (10%) or all."
    )


def _parse_number(text: str, total: int) -> Fraction | None:
    """Exact, where a float would make 28 of 29% of 100. None if `text` is no number of videos."""
    if text == "all":
        return Fraction(total)
    match = re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)([km%]?)", text, re.ASCII)
    if match is None:
        return None
    if match[2] == "%":
        return Fraction(match[1]) * Fraction(total, 100)
    number = Fraction(match[1]) * {"": 1, "k": 1000, "m": 1_000_000}[match[2]]
    has_point_of_thousands = "." in match[1] and not match[2]  # 50.000 is fifty thousand in Europe
    return None if has_point_of_thousands or number.denominator != 1 else number
