"""Draws lines on a terminal. Text reaches rich as `Text`, never as a string, which is markup."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kdbatch.base.output.visible_text import visible

Line = RenderableType
Draw = Callable[[Sequence[Line]], None]


def console() -> Console:
    """The console of standard output."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=not sys.stdout.isatty())


def styled(*parts: str | tuple[str, str]) -> Text:
    """One line for a terminal: plain texts, and pairs of a text and its style. Control characters
    are written out.
    """
    line = Text(no_wrap=True)
    for part in parts:
        text, style = (part, "") if isinstance(part, str) else part
        line.append(visible(text), style=style or None)
    return line


def share_bar(done: float, total: int, note: str) -> Line:
    """A bar of the share that is done, and a note."""
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=20)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    grid.add_row(ProgressBar(total=total, completed=done), styled(note))
    return grid


@contextmanager
def redrawn(out: Console) -> Iterator[Draw]:
    """A function that draws lines in place of those that it drew before; they vanish at the end."""
    with Live(console=out, refresh_per_second=4, transient=True) as live:
        yield lambda lines: live.update(Group(*lines))
