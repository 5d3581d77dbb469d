"""Shows the progress of a long task: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
)
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from kdbatch.base.progress import Progress
from kdbatch.base.text import duration
from kdbatch.cli.live.console import console, styled
from kdbatch.cli.terminal import print_line

PLAIN_SECONDS = 5.0
BAR_WIDTH = 20


class _FieldColumn(ProgressColumn):
    """A field of the task, as text: rich's own column of text takes a template and markup."""

    def __init__(self, field: str, column: Column) -> None:
        super().__init__(table_column=column)
        self._field = field

    def render(self, task: Task) -> Text:
        return styled(str(task.fields[self._field]))


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A bar with count, rate and time left on a terminal, then the note, cut to the width;
    elsewhere a line every few seconds, and one at the end.
    """
    out = console()
    if not out.is_terminal:
        with _progress_lines(title) as lines:
            yield lines
        return
    whole = Column(no_wrap=True)
    columns = (
        _FieldColumn("title", whole),
        BarColumn(bar_width=BAR_WIDTH, table_column=whole),
        MofNCompleteColumn(table_column=whole),
        _FieldColumn("rate", whole),
        _FieldColumn("left", whole),
        _FieldColumn("note", Column(ratio=1, no_wrap=True, overflow="ellipsis")),
    )
    with RichProgress(*columns, console=out, expand=True) as bar:
        task = bar.add_task("", total=None, title=title, rate="", left="", note="")
        pace = Pace()

        def show(done: int, total: int, note: str) -> None:
            rate, left = pace.measure(done, total)
            bar.update(task, completed=done, total=total, note=note, rate=rate, left=left)

        yield show


class Pace:
    """The speed of a task since now, without what was done before, by an earlier command."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self._before: int | None = None

    def measure(self, done: int, total: int) -> tuple[str, str]:
        """The rate and the time left, such as `3.2/s` and `12 s left`; start-up counts as time.

        The first call is for the first step of this task.
        """
        if self._before is None:
            self._before = done - 1
        rate = (done - self._before) / max(time.monotonic() - self.began, 1e-3)
        left = f"{duration((total - done) / rate)} left" if rate and total > done else ""
        return f"{rate:,.1f}/s", left


@contextmanager
def _progress_lines(title: str) -> Iterator[Progress]:
    pace, last = Pace(), (0, 0)
    printed_at = pace.began

    def show(done: int, total: int, note: str) -> None:
        nonlocal printed_at, last
        last, measured = (done, total), pace.measure(done, total)
        if time.monotonic() - printed_at >= PLAIN_SECONDS:
            printed_at = time.monotonic()
            parts = (f"{done}/{total}", *measured, note)
            print_line(f"{title}: {', '.join(part for part in parts if part)}")

    yield show
    done, total = last
    if total:  # otherwise there was nothing to do
        print_line(f"{title}: {done}/{total}, {time.monotonic() - pace.began:.1f} s")
