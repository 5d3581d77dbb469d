"""Lists runs: on a terminal a line each, redrawn while they are watched; elsewhere plain lines."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from kdbatch.base.output.visible_text import visible
from kdbatch.base.text import duration, plural
from kdbatch.cli.live.console import Line, console, redrawn, share_bar, styled
from kdbatch.cli.live.progress import PLAIN_SECONDS
from kdbatch.cli.terminal import print_line
from kdbatch.launch.run_groups import (
    RunGroup,
    experiments_of,
    seconds_left,
    share_done,
    title_without_seed,
)
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.status import RunState

STATE_COLOURS = {
    "done": "green",
    "running": "cyan",
    "failed": "red",
    "lost": "red",
    "damaged": "red",
    "unreadable": "red",
    "missing": "red",
    "blocked": "yellow",
    "stopped": "yellow",
    "stale": "yellow",
}
# While runs are watched, those that need attention are at the top.
WATCH_ORDER: tuple[RunState, ...] = (
    "running",
    "stale",
    "failed",
    "lost",
    "damaged",
    "unreadable",
    "missing",
    "blocked",
    "stopped",
    "planned",
    "queued",
    "done",
)
ID_WIDTH, STATE_WIDTH, SHARE_WIDTH, LEFT_WIDTH = 11, 8, 5, 6
MAX_LAST_WIDTH, MIN_WHAT_WIDTH = 24, 18
PLAIN_HEADER = ("run", "state", "done", "what", "last", "experiments")


@contextmanager
def watch_runs(*, endless: bool = False) -> Iterator[Callable[[Sequence[RunRow]], None]]:
    """A function that shows the state of all runs. On a terminal a bar for all of them and their
    lines are redrawn in place; elsewhere there is a line when a run changes its state, and one
    every few seconds.

    With `endless`, which is for a command that only shows, it raises ReaderGoneError where the
    reader of a pipe has ended.
    """
    out = console()
    if not out.is_terminal:
        yield _RunLines(endless=endless).show
        return
    with redrawn(out) as draw:

        def redraw(rows: Sequence[RunRow]) -> None:
            draw(_watch_view(rows, width=out.width, height=out.height))

        yield redraw


def _watch_view(rows: Sequence[RunRow], *, width: int, height: int) -> list[Line]:
    """The bar of all runs, and the lines of those for which there is room."""
    ordered = sorted(rows, key=lambda row: WATCH_ORDER.index(row.state))
    num_lines = max(1, height - 4)
    layout = LineLayout(ordered, labels={}, width=width)
    lines = [layout.header(), *(layout.line(row) for row in ordered[:num_lines])]
    if more := ordered[num_lines:]:
        lines.append(styled((f"and {plural(len(more), 'more run')}", "dim")))
    return [_overall_bar(rows), *lines]


def _overall_bar(rows: Sequence[RunRow]) -> Line:
    """The share of all runs that is done, the counts, and the time left."""
    done = sum(map(share_done, rows))
    total = max(1, len(rows))
    return share_bar(done, total, f"{100 * done / total:3.0f}%  {summary(rows)}")


def summary(rows: Sequence[RunRow]) -> str:
    """The time left for all runs, if it can be estimated, and the number in each state."""
    seconds = seconds_left(rows)
    left = f"about {duration(seconds)} left, " if seconds is not None else ""
    return f"{left}{count_states(rows)}"


class _RunLines:
    """Plain lines about runs: the changes since the last call, or a summary."""

    def __init__(self, *, endless: bool) -> None:
        self._endless = endless
        self._shown: dict[str, RunState] = {}
        self._printed_at = time.monotonic()

    def show(self, rows: Sequence[RunRow]) -> None:
        changed = [row for row in rows if self._has_changed(row)]
        self._shown.update({row.run_id: row.state for row in rows})
        for row in changed:
            details = "" if row.state == "running" else row.reason or row.metric
            line = f"{row.state:8} {row.run_id} {row.title}"
            self._print(f"{line}: {details}" if details else line)
        is_due = time.monotonic() - self._printed_at > PLAIN_SECONDS
        if is_due and not changed:
            running = [row for row in rows if row.state == "running" and row.num_steps]
            shares = [f"{row.run_id} {100 * row.step // row.num_steps} %" for row in running]
            self._print(", ".join([summary(rows), *shares]))
        if is_due or changed:
            self._printed_at = time.monotonic()

    def _print(self, line: str) -> None:
        print_line(line, endless=self._endless)

    def _has_changed(self, row: RunRow) -> bool:
        """A run that is done or queued at first is not news, nor is one that a queue gives back."""
        if row.state == "planned":
            return False
        first: RunState = "done" if row.state == "done" else "queued"
        return row.state != self._shown.get(row.run_id, first)


def count_states(rows: Sequence[RunRow]) -> str:
    """The number of runs, and of those in each state, in one line."""
    return f"{plural(len(rows), 'run')}: {_counts(rows)}"


def _counts(rows: Sequence[RunRow]) -> str:
    states = Counter(row.state for row in rows).most_common()
    return ", ".join(f"{num} {state}" for state, num in states) or "none"


class LineLayout:
    """The columns of a list of runs on a terminal: a line for each run, cut to the width."""

    def __init__(self, rows: Sequence[RunRow], *, labels: dict[str, str], width: int) -> None:
        self._labels = labels
        self._has_eta = any(row.eta_seconds is not None for row in rows)
        self._state = max([STATE_WIDTH, *(len(row.state) for row in rows)])
        fixed = ID_WIDTH + self._state + SHARE_WIDTH + 3 + (LEFT_WIDTH + 1) * self._has_eta
        self._rest = max(20, width - fixed - 2)
        longest = max((len(row.metric) for row in rows), default=0)
        self._last = min(
            MAX_LAST_WIDTH if width < 120 else 40, longest, self._rest - MIN_WHAT_WIDTH
        )

    def header(self) -> Line:
        left = f"{'left':>{LEFT_WIDTH}} " if self._has_eta else ""
        last = f"{'last':{self._last}}  " if self._last else ""
        columns = f"{'run':{ID_WIDTH}} {'state':{self._state}} {'done':>{SHARE_WIDTH}} {left} "
        return styled((f"{columns}{last}what".rstrip(), "bold"))

    def line(self, row: RunRow) -> Line:
        """One run. The reason of a run that has not ended well takes the place of its numbers."""
        state = (f"{row.state:{self._state}}", STATE_COLOURS.get(row.state, ""))
        share = "100%" if row.state == "done" else _percent(row)
        left = ""
        if self._has_eta:
            seconds = duration(row.eta_seconds) if row.eta_seconds is not None else ""
            left = f"{seconds:>{LEFT_WIDTH}} "
        rest = f" {share:>{SHARE_WIDTH}} {left} {self._rest_of(row)}"
        return styled(f"{row.run_id:{ID_WIDTH}} ", state, rest)

    def _rest_of(self, row: RunRow) -> str:
        label = visible(self._labels.get(row.run_id, ""))
        title, reason, metric = map(visible, (title_without_seed(row), row.reason, row.metric))
        what = f"{label}: {title}" if label else title
        if reason:
            name = cut_middle(label or title, max(12, self._rest // 3))
            return cut_end(f"{name}: {reason}" if name else reason, self._rest)
        if not self._last:
            return self._cut(what, row, self._rest)
        last = cut_end(metric, self._last)
        return f"{last:{self._last}}  {self._cut(what, row, self._rest - self._last - 2)}".rstrip()

    def _cut(self, what: str, row: RunRow, width: int) -> str:
        """A role and a case come first and suffice; titles differ at both ends."""
        return cut_end(what, width) if row.run_id in self._labels else cut_middle(what, width)


def cut_end(text: str, width: int) -> str:
    """The text, or its beginning and an ellipsis."""
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"


def cut_middle(text: str, width: int) -> str:
    """The text, or its beginning and its end: both tell runs apart."""
    if len(text) <= width:
        return text
    tail = (width - 1) // 2
    return f"{text[: width - 1 - tail]}…{text[len(text) - tail :]}"


def show_status(groups: Sequence[RunGroup], *, hours: float) -> None:
    """Print runs by experiment: a table on a terminal, lines with tabs elsewhere; then their
    number, and the device-hours that they took.
    """
    out = console()
    everything = [row for group in groups for row in group.rows]
    if not out.is_terminal:
        _print_plain(groups)
        print_line(count_states(everything))
        return
    layout = LineLayout(everything, labels={}, width=out.width)
    out.print(layout.header())
    for group in groups:
        own = LineLayout(everything, labels=group.labels, width=out.width)
        name = group.name or "of no submitted plan"
        counts = count_states((*group.rows, *group.shared))
        out.print(styled((cut_end(f"{name}: {counts}", out.width), "bold")))
        for row in group.rows:
            out.print(own.line(row))
        if group.shared:
            shared = f"and {plural(len(group.shared), 'run')} of experiments above"
            out.print(styled((f"{shared}: {_counts(group.shared)}", "dim")))
    if len(groups) > 1:
        print_line(count_states(everything))
    print_line(f"{hours:.2f} device-hours so far")


def _print_plain(groups: Sequence[RunGroup]) -> None:
    users = experiments_of(groups)
    print_line("\t".join(PLAIN_HEADER))
    for group in groups:
        for row in group.rows:
            last = row.reason or row.metric
            share = _percent(row) or "-"
            fields = (row.run_id, row.state, share, row.title, last, ",".join(users[row.run_id]))
            print_line("\t".join(" ".join(field.split()) for field in fields))


def _percent(row: RunRow) -> str:
    return f"{100 * row.step / row.num_steps:.0f}%" if row.num_steps else ""
