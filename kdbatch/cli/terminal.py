"""Output for a person: progress and plans; bars on a terminal, plain lines elsewhere."""

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

from kdbatch.base.progress import Progress
from kdbatch.base.text import plural
from kdbatch.vocab.plans import Plan

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
    """Print one line at once, without buffering."""
    print(line, flush=True)


def warn(line: str) -> None:
    """Print one line to standard error."""
    print(f"kdbatch: {line}", file=sys.stderr, flush=True)


def show_plan(plan: Plan, *, num_bytes: int) -> None:
    """Print a plan: its runs, which of them are shared or done, its waves and its cost. `num_bytes`
    is the size of the shards that it reads.
    """
    for item in plan.runs:
        marks = ["done"] if item.done else []
        if len(item.used_by) > 1:
            marks.append(f"shared by {', '.join(item.used_by)}")
        print_line(f"{item.run.id}  {item.title}" + (f"  [{'; '.join(marks)}]" if marks else ""))
    print_line("")
    for number, wave in enumerate(plan.waves, 1):
        r = wave.resources
        each = f"{r.gpus} GPU, {r.cpus} cores, {r.memory_gb} GB, {r.minutes} min each"
        print_line(f"wave {number}: {len(wave.run_ids)} x {wave.name} ({each})")
    todo = [item for item in plan.runs if not item.done]
    num_cells = sum(len(record.cells) for record in plan.records)
    needed = f"{plural(len(plan.runs), 'run')} for {plural(num_cells, 'cell')} of the experiments"
    print_line(f"{needed}, {len(plan.runs) - len(todo)} done, {len(todo)} to do")
    hours = sum(item.cost_hours for item in todo)
    cost = f"about {hours:.2f}" if hours >= 0.01 else "less than 0.01"
    size = f"{num_bytes / 1e9:.2f} GB of shards are read"
    print_line(f"{cost} GPU-hours at an assumed 20 TMAC/s; {size}")
