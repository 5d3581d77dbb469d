"""What a person sees: progress, plans, run tables. Bars on a terminal, plain lines anywhere else."""

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
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


@contextmanager
def progress(title: str) -> Iterator[Progress]:
    """A bar with rate and remaining time on a terminal; a line every few seconds elsewhere, and one
    at the end.
    """
    out = console()
    if not out.is_terminal:
        with _plain(title) as tell:
            yield tell
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
def _plain(title: str) -> Iterator[Progress]:
    began = said = time.monotonic()
    last = (0, 0)

    def tell(done: int, total: int, note: str) -> None:
        nonlocal said, last
        last = (done, total)
        if time.monotonic() - said >= PLAIN_SECONDS:
            said = time.monotonic()
            print_line(f"{title}: {done}/{total} {note}".rstrip())

    yield tell
    if last[1]:  # nothing was to do otherwise
        print_line(f"{title}: {last[0]}/{last[1]}, {time.monotonic() - began:.1f} s")


def print_line(line: str) -> None:
    """One line, at once."""
    print(line, flush=True)


def warn(line: str) -> None:
    print(f"kdbatch: {line}", file=sys.stderr, flush=True)


@contextmanager
def watch_runs() -> Iterator[Callable[[Sequence[RunRow]], None]]:
    """The state of all runs, redrawn in place on a terminal; elsewhere a line when a run starts or
    ends, and one every few seconds.
    """
    out = console()
    if out.is_terminal:
        with Live(console=out, refresh_per_second=4, transient=True) as live:
            yield lambda rows: live.update(
                run_table(
                    [r for r in rows if r.state not in ("done", "queued")],
                    summary=count_states(rows),
                )
            )
        return
    seen: dict[str, str] = {}
    said = time.monotonic()

    def tell(rows: Sequence[RunRow]) -> None:
        nonlocal said
        news = [
            row
            for row in rows
            if row.state != seen.get(row.run_id, row.state if row.state == "done" else "queued")
        ]
        seen.update({row.run_id: row.state for row in rows})
        for row in news:
            more = row.reason or row.metric if row.state != "running" else ""
            print_line(f"{row.state:8} {row.run_id} {row.title}" + (f": {more}" if more else ""))
        if not news and time.monotonic() - said > PLAIN_SECONDS:
            shares = [
                f"{row.run_id} {100 * row.step // row.num_steps} %"
                for row in rows
                if row.state == "running" and row.num_steps
            ]
            print_line(", ".join([count_states(rows), *shares]))
        elif not news:
            return
        said = time.monotonic()

    yield tell


def count_states(rows: Sequence[RunRow]) -> str:
    counts = Counter(row.state for row in rows)
    return f"{plural(len(rows), 'run')}: " + (
        ", ".join(f"{n} {state}" for state, n in counts.most_common()) or "none"
    )


def run_table(rows: Sequence[RunRow], *, summary: str) -> Table:
    """One line per run."""
    table = Table(caption=summary, box=None, pad_edge=False, caption_justify="left")
    for name in ("run", "what", "state", "progress", "left", "last", "hours"):
        table.add_column(
            name,
            overflow="fold",
            justify="right" if name in ("progress", "left", "hours") else "left",
        )
    for row in rows:
        share = f"{100 * row.step / row.num_steps:.0f} %" if row.num_steps else ""
        left = duration(row.eta_seconds) if row.eta_seconds is not None else ""
        state = f"[{STATE_COLOURS.get(row.state, 'white')}]{row.state}[/]"
        table.add_row(
            row.run_id,
            row.title,
            state,
            share,
            left,
            row.reason or row.metric,
            f"{row.device_hours:.2f}",
        )
    return table


def show_status(rows: Sequence[RunRow]) -> None:
    out = console()
    if out.is_terminal:
        out.print(run_table(rows, summary=count_states(rows)))
        return
    for row in rows:
        share = f"{100 * row.step / row.num_steps:.0f}%" if row.num_steps else "-"
        print_line("\t".join((row.run_id, row.state, share, row.title, row.reason or row.metric)))
    print_line(count_states(rows))


def show_plan(plan: Plan, *, num_bytes: int) -> None:
    """Runs, what is shared, what is done, waves, what it will cost. Writes nothing."""
    for item in plan.runs:
        marks = ["done"] if item.done else []
        marks += [f"shared by {', '.join(item.used_by)}"] if len(item.used_by) > 1 else []
        print_line(f"{item.run.id}  {item.title}" + (f"  [{'; '.join(marks)}]" if marks else ""))
    print_line("")
    for number, wave in enumerate(plan.waves, 1):
        r = wave.resources
        print_line(
            f"wave {number}: {len(wave.run_ids)} x {wave.name} ({r.gpus} GPU, {r.cpus} cores, {r.memory_gb} GB, {r.minutes} min each)"
        )
    todo = [item for item in plan.runs if not item.done]
    cells = sum(len(record.cells) for record in plan.records)
    asked = f"{plural(len(plan.runs), 'run')} for {plural(cells, 'place')} in the experiments"
    print_line(f"{asked}, {len(plan.runs) - len(todo)} done, {len(todo)} to do")
    hours = sum(item.cost_hours for item in todo)
    cost = f"about {hours:.2f}" if hours >= 0.01 else "less than 0.01"
    print_line(
        f"{cost} GPU-hours at an assumed 20 TMAC/s; {num_bytes / 1e9:.2f} GB of shards are read"
    )


def duration(seconds: float) -> str:
    """`42 s`, `12 min`, `3.4 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
