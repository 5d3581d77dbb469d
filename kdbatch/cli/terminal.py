"""Output for a person: progress, plans, run tables; bars on a terminal, plain lines elsewhere."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as RichProgress
from rich.table import Table

from kdbatch.base.progress import Progress
from kdbatch.base.text import plural
from kdbatch.launch.run_status import RunRow
from kdbatch.vocab.plans import Plan
from kdbatch.vocab.status import RunState

PLAIN_SECONDS = 5.0
STATE_COLOURS = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "lost": "red",
    "damaged": "red",
    "blocked": "yellow",
    "stopped": "yellow",
}


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


@contextmanager
def watch_runs() -> Iterator[Callable[[Sequence[RunRow]], None]]:
    """A function that shows the state of all runs. On a terminal they are redrawn in place;
    elsewhere there is a line when a run changes its state, and one every few seconds.
    """
    out = console()
    if not out.is_terminal:
        yield _RunLines().show
        return
    with Live(console=out, refresh_per_second=4, transient=True) as live:

        def redraw(rows: Sequence[RunRow]) -> None:
            moving = [row for row in rows if row.state not in ("done", "queued")]
            live.update(run_table(moving, summary=count_states(rows)))

        yield redraw


class _RunLines:
    """Plain lines about runs: the changes since the last call, or a summary."""

    def __init__(self) -> None:
        self._shown: dict[str, RunState] = {}
        self._printed_at = time.monotonic()

    def show(self, rows: Sequence[RunRow]) -> None:
        changed = [row for row in rows if self._has_changed(row)]
        self._shown.update({row.run_id: row.state for row in rows})
        for row in changed:
            details = "" if row.state == "running" else row.reason or row.metric
            line = f"{row.state:8} {row.run_id} {row.title}"
            print_line(f"{line}: {details}" if details else line)
        is_due = time.monotonic() - self._printed_at > PLAIN_SECONDS
        if is_due and not changed:
            running = [row for row in rows if row.state == "running" and row.num_steps]
            shares = [f"{row.run_id} {100 * row.step // row.num_steps} %" for row in running]
            print_line(", ".join([count_states(rows), *shares]))
        if is_due or changed:
            self._printed_at = time.monotonic()

    def _has_changed(self, row: RunRow) -> bool:
        """A run that is done or queued at first is not news."""
        first: RunState = "done" if row.state == "done" else "queued"
        return row.state != self._shown.get(row.run_id, first)


def count_states(rows: Sequence[RunRow]) -> str:
    """The number of runs, and of those in each state, in one line."""
    states = Counter(row.state for row in rows).most_common()
    counts = ", ".join(f"{num} {state}" for state, num in states)
    return f"{plural(len(rows), 'run')}: {counts or 'none'}"


def run_table(rows: Sequence[RunRow], *, summary: str) -> Table:
    """One line per run."""
    table = Table(caption=summary, box=None, pad_edge=False, caption_justify="left")
    for name in ("run", "what", "state"):
        table.add_column(name, overflow="fold")
    for name in ("progress", "left"):
        table.add_column(name, overflow="fold", justify="right")
    table.add_column("last", overflow="fold")
    table.add_column("hours", overflow="fold", justify="right")
    for row in rows:
        share = f"{100 * row.step / row.num_steps:.0f} %" if row.num_steps else ""
        time_left = duration(row.eta_seconds) if row.eta_seconds is not None else ""
        state = f"[{STATE_COLOURS.get(row.state, 'white')}]{row.state}[/]"
        table.add_row(
            row.run_id,
            row.title,
            state,
            share,
            time_left,
            row.reason or row.metric,
            f"{row.device_hours:.2f}",
        )
    return table


def show_status(rows: Sequence[RunRow]) -> None:
    """Print all runs: a table on a terminal, lines with tabs elsewhere."""
    out = console()
    if out.is_terminal:
        out.print(run_table(rows, summary=count_states(rows)))
        return
    for row in rows:
        share = f"{100 * row.step / row.num_steps:.0f}%" if row.num_steps else "-"
        print_line("\t".join((row.run_id, row.state, share, row.title, row.reason or row.metric)))
    print_line(count_states(rows))


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


def duration(seconds: float) -> str:
    """A duration in its unit: `42 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
