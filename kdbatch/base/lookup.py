"""Looks names up in registries, which are dicts, with an error that suggests the nearest name."""

import difflib
from collections.abc import Collection, Mapping
from typing import TypeVar

from kdbatch.base.errors import UserError
from kdbatch.base.reading.shown_values import shown

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, *, where: str) -> T:
    """The entry called `name`.

    Raises:
        UserError: there is none; the message has the nearest name and all names.
    """
    if name in table:
        return table[name]
    raise UserError(
        f"{where}: no {shown(name)}.{did_you_mean(name, table)} Known: {', '.join(table)}."
    )


def did_you_mean(name: str, known: Collection[str]) -> str:
    """` Did you mean 'x'?` for the known name that is nearest; empty if none is similar."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
