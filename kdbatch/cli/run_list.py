"""Runs on a terminal, redrawn in place; elsewhere as plain lines."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.live import Live
from rich.table import Table

from kdbatch.base.text import duration, plural
from kdbatch.cli.terminal import PLAIN_SECONDS, console, print_line
from kdbatch.launch.run_status import RunRow
from kdbatch.vocab.status import RunState

STATE_COLOURS = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "lost": "red",
    "damaged": "red",
    "blocked": "yellow",
    "stopped": "yellow",
}


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
        """A run that is done or queued at first is not news, nor is one that a queue gives back."""
        if row.state == "planned":
            return False
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
