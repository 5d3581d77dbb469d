"""Names resolve here and nowhere else: a registry is a dict, `lookup` is the lookup that helps."""

import difflib
from collections.abc import Collection, Mapping
from typing import TypeVar

from kdbatch.base.errors import UserError

T = TypeVar("T")


def lookup(table: Mapping[str, T], name: str, *, where: str) -> T:
    """The entry called `name`.

    Raises:
        UserError: no such entry; names the nearest one and all of them.
    """
    if name in table:
        return table[name]
    raise UserError(f"{where}: no {name!r}.{did_you_mean(name, table)} Known: {', '.join(table)}.")


def did_you_mean(name: str, known: Collection[str]) -> str:
    """` Did you mean 'x'?` when something known is near, else nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
