"""Output for a person: lines and progress; bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress

from kdbatch.base.errors import STANDARD_OUTPUT
from kdbatch.base.progress import Progress

PLAIN_SECONDS = 5.0


def console() -> Console:
    """The console of standard output."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A bar with elapsed and remaining time on a terminal; elsewhere a line every few seconds, and
    one at the end.
    """
    out = console()
    if not out.is_terminal:
        with _progress_lines(title) as show:
            yield show
        return
    columns = (
        TextColumn(title),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with RichProgress(*columns, console=out) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total, note: bar.update(
            task, completed=done, total=total, description=note
        )


@contextmanager
def _progress_lines(title: str) -> Iterator[Progress]:
    began = printed_at = time.monotonic()
    last = (0, 0)

    def show(done: int, total: int, note: str) -> None:
        nonlocal printed_at, last
        last = (done, total)
        if time.monotonic() - printed_at >= PLAIN_SECONDS:
            printed_at = time.monotonic()
            print_line(f"{title}: {done}/{total} {note}".rstrip())

    yield show
    done, total = last
    if total:  # otherwise there was nothing to do
        print_line(f"{title}: {done}/{total}, {time.monotonic() - began:.1f} s")


def print_line(line: str) -> None:
    """Print one line at once, without buffering.

    Raises:
        BrokenPipeError: its reader has ended.
        OSError: another error of the standard output, such as a full disk.
    """
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, STANDARD_OUTPUT) from error


def warn(line: str) -> None:
    """Print one line to standard error."""
    print(f"kdbatch: {line}", file=sys.stderr, flush=True)
