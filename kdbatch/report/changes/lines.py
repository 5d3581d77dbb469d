"""Lines of a terminal that tell the changes since an earlier report."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from kdbatch.report.changes.compare import Changes

_COLUMNS = 80
_MAX_SHOWN = 3  # of the claims, and of the numbers


def changes_lines(changes: Changes, *, table: Path) -> Iterator[str]:
    """Yield the counts, the first changes with their reasons, and where the others are: `table`."""
    yield from _wrapped(f"since {changes.against}: {changes.summary}")
    shown = [*changes.claims[:_MAX_SHOWN], *changes.numbers[:_MAX_SHOWN]]
    for change in shown:
        text = f"{change.what}: {change.before}; now {change.now} ({change.why})"
        yield from _wrapped(text, indent="  ")
    if num_more := len(changes.rows) - len(shown):
        yield from _wrapped(f"and {num_more} more: {table}", indent="  ")
    for line in changes.left_out:
        yield from _wrapped(f"not compared: {line}", indent="  ")


def _wrapped(text: str, *, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        _COLUMNS,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
