"""Results of `kdbatch bench data`: rows, numbers derived from them, and their output formats."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from kdbatch.bench.data.meter import Speed

BASELINE_ROW, LIMIT, LIMIT_OF_FOUR = "a", "e.rgb", "e4.rgb"
Speeds = Mapping[str, Sequence[Speed]]
"""The speeds of each row, one per repeat."""


@dataclass(frozen=True, kw_only=True)
class DataRow:
    """One reading method; medians over the repeats.

    `ratio` compares clips per CPU-second with those of row `a` in the same repeat, `share` with
    those of the row that is this one's limit; None without such a row.
    """

    key: str
    title: str
    num_workers: int
    clips_per_cpu_second: float
    clips_per_second: float
    ratio: float | None
    share: float | None


@dataclass(frozen=True, kw_only=True)
class DerivedNumber:
    """A number that follows from the rows. `goal` is what it should be on Kinetics-400; empty where
    there is no goal.
    """

    key: str
    title: str
    value: float
    goal: str = ""


@dataclass(frozen=True, kw_only=True)
class DataBench:
    """All rows and derived numbers, with notes that their reader needs."""

    rows: tuple[DataRow, ...]
    figures: tuple[DerivedNumber, ...]
    notes: tuple[str, ...]


def data_row(speeds: Speeds, key: str, *, title: str, num_workers: int, limit: str) -> DataRow:
    """Medians of one row. `limit` is the key of the row that this one cannot beat, or empty."""
    return DataRow(
        key=key,
        title=title,
        num_workers=num_workers,
        clips_per_cpu_second=median(s.clips_per_cpu_second for s in speeds[key]),
        clips_per_second=median(s.clips_per_second for s in speeds[key]),
        ratio=_ratio(speeds, key, BASELINE_ROW) if BASELINE_ROW in speeds else None,
        share=_ratio(speeds, key, limit) if limit else None,
    )


RATIO_GOALS = (
    ("c.pyav", BASELINE_ROW, 20),
    ("c.decord", BASELINE_ROW, 9),
    ("c.pyav", "a2", 10),
    ("c.decord", "a2", 4),
    ("d.yuv", BASELINE_ROW, 100),
)
"""Two rows, and what the ratio of their speeds should be at least."""


def derive_numbers(speeds: Speeds) -> tuple[DerivedNumber, ...]:
    """Derive each number in every repeat, and take the median."""
    beyond_ms = [
        1000 / c.clips_per_cpu_second - 1000 / b.clips_per_cpu_second
        for c, b in zip(speeds["c.pyav"], speeds["b.pyav"])
    ]
    pyav = _ratio(speeds, "b.pyav", LIMIT)
    four, four_limit = _ratio(speeds, "b.pyav", "b4"), _ratio(speeds, LIMIT, LIMIT_OF_FOUR)
    values = [
        ("share.pyav", "pyav, share of the limit", pyav, "at least 0.85"),
        (
            "beyond_ms",
            "loader beyond decoding, CPU-ms per clip",
            median(beyond_ms),
            "at most 0.4",
        ),
        ("four", "four clips of a video to one, pyav", 4 * four, "at most 2.5"),
        ("four.limit", "four clips of a video to one, the limit", 4 * four_limit, ""),
    ]
    if "b.decord" in speeds:
        decord = _ratio(speeds, "b.decord", LIMIT)
        values.insert(1, ("share.decord", "decord, share of the limit", decord, "at least 0.33"))
    numbers = [
        DerivedNumber(key=key, title=title, value=value, goal=goal)
        for key, title, value, goal in values
    ]
    for key, base, least in RATIO_GOALS:
        if base in speeds and key in speeds:
            number = DerivedNumber(
                key=f"{key}/{base}",
                title=f"row {key} to row {base}",
                value=_ratio(speeds, key, base),
                goal=f"at least {least}",
            )
            numbers.append(number)
    return tuple(numbers)


def data_as_lines(bench: DataBench) -> list[str]:
    """Both tables as lines of text."""
    width = max(len(row.title) for row in bench.rows)
    lines = [f"{'':8} {'':{width}}  clips/CPU-s   to (a)  of limit   clips/s  workers"]
    for row in bench.rows:
        ratio = f"{row.ratio:7.1f}x" if row.ratio is not None else f"{'-':>8}"
        share = f"{row.share:8.0%}" if row.share is not None else f"{'-':>8}"
        lines.append(
            f"{row.key:8} {row.title:{width}} {row.clips_per_cpu_second:12.1f} {ratio}  {share} "
            f"{row.clips_per_second:9.1f} {row.num_workers:8}"
        )
    width = max((len(figure.title) for figure in bench.figures), default=0)
    lines += [
        f"{figure.title:{width}} {figure.value:8.2f}  {figure.goal}".rstrip()
        for figure in bench.figures
    ]
    return [*lines, *bench.notes]


def data_as_json(bench: DataBench, *, stored: Sequence[Mapping[str, object]] = ()) -> str:
    """The results as JSON, with one mapping per stored video."""
    return json.dumps({**asdict(bench), "stored": list(stored)}, indent=1)


def _ratio(speeds: Speeds, key: str, base: str) -> float:
    return median(
        s.clips_per_cpu_second / b.clips_per_cpu_second
        for s, b in zip(speeds[key], speeds[base], strict=True)
    )
