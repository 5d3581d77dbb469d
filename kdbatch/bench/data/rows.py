"""What `kdbatch bench data` found, as values, and as it is told."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from kdbatch.bench.data.meter import Speed

BASELINE_ROW, LIMIT, LIMIT_OF_FOUR = "a", "e.rgb", "e4.rgb"
Speeds = Mapping[str, Sequence[Speed]]
"""Of every row, once per repeat."""


@dataclass(frozen=True, kw_only=True)
class DataRow:
    """Medians over the repeats. `ratio` is of clips per CPU-second to those of row `a` in the same
    repeat, `share` to those of the row that is this one's limit; None without such a row.
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
    """A number that follows from the rows; `goal` says what it should be on Kinetics-400, empty
    where nothing is asked of it.
    """

    key: str
    title: str
    value: float
    goal: str = ""


@dataclass(frozen=True, kw_only=True)
class DataBench:
    """What was measured, and what a reader of the numbers must know."""

    rows: tuple[DataRow, ...]
    figures: tuple[DerivedNumber, ...]
    notes: tuple[str, ...]


def data_row(speeds: Speeds, key: str, *, title: str, num_workers: int, limit: str) -> DataRow:
    """`limit` is the key of the row that this one cannot beat, or empty."""
    return DataRow(
        key=key,
        title=title,
        num_workers=num_workers,
        clips_per_cpu_second=median(s.clips_per_cpu_second for s in speeds[key]),
        clips_per_second=median(s.clips_per_second for s in speeds[key]),
        ratio=_ratio(speeds, key, BASELINE_ROW) if BASELINE_ROW in speeds else None,
        share=_ratio(speeds, key, limit) if limit else None,
    )


def derive_numbers(speeds: Speeds) -> tuple[DerivedNumber, ...]:
    """Every one as the median of what it was in each repeat."""
    beyond = [
        1000 / c.clips_per_cpu_second - 1000 / b.clips_per_cpu_second
        for c, b in zip(speeds["c.pyav"], speeds["b.pyav"])
    ]
    found = [
        DerivedNumber(
            key="share.pyav",
            title="pyav, share of the limit",
            value=_ratio(speeds, "b.pyav", LIMIT),
            goal="at least 0.85",
        ),
        DerivedNumber(
            key="share.decord",
            title="decord, share of the limit",
            value=_ratio(speeds, "b.decord", LIMIT),
            goal="at least 0.33",
        ),
        DerivedNumber(
            key="beyond_ms",
            title="loader beyond decoding, CPU-ms per clip",
            value=median(beyond),
            goal="at most 0.4",
        ),
        DerivedNumber(
            key="four",
            title="four clips of a video to one, pyav",
            value=4 * _ratio(speeds, "b.pyav", "b4"),
            goal="at most 2.5",
        ),
        DerivedNumber(
            key="four.limit",
            title="four clips of a video to one, the limit",
            value=4 * _ratio(speeds, LIMIT, LIMIT_OF_FOUR),
        ),
    ]
    asked = [
        ("c.pyav", BASELINE_ROW, 20),
        ("c.decord", BASELINE_ROW, 9),
        ("c.pyav", "a2", 10),
        ("c.decord", "a2", 4),
        ("d.yuv", BASELINE_ROW, 100),
    ]
    found += [
        DerivedNumber(
            key=f"{key}/{base}",
            title=f"row {key} to row {base}",
            value=_ratio(speeds, key, base),
            goal=f"at least {least}",
        )
        for key, base, least in asked
        if base in speeds
    ]
    return tuple(found)


def data_as_lines(bench: DataBench) -> list[str]:
    """The tables for a person."""
    width = max(len(row.title) for row in bench.rows)
    lines = [f"{'':8} {'':{width}}  clips/CPU-s   to (a)  of limit   clips/s  workers"]
    for row in bench.rows:
        ratio = f"{row.ratio:7.1f}x" if row.ratio is not None else f"{'-':>8}"
        share = f"{row.share:8.0%}" if row.share is not None else f"{'-':>8}"
        speeds = f"{row.clips_per_cpu_second:12.1f} {ratio}  {share} {row.clips_per_second:9.1f} {row.num_workers:8}"
        lines.append(f"{row.key:8} {row.title:{width}} {speeds}")
    width = max((len(figure.title) for figure in bench.figures), default=0)
    lines += [
        f"{figure.title:{width}} {figure.value:8.2f}  {figure.goal}".rstrip()
        for figure in bench.figures
    ]
    return [*lines, *bench.notes]


def data_as_json(bench: DataBench, *, stored: Sequence[Mapping[str, object]] = ()) -> str:
    """The same for a program, with what is to be told of the stored videos."""
    return json.dumps({**asdict(bench), "stored": list(stored)}, indent=1)


def _ratio(speeds: Speeds, key: str, base: str) -> float:
    return median(
        s.clips_per_cpu_second / b.clips_per_cpu_second
        for s, b in zip(speeds[key], speeds[base], strict=True)
    )
