"""Results of `kdbatch bench step`: rows, and their output formats."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One variant of a step; medians over the repeats. Shares are in percent.

    `ratio` compares the speed with that of the usual loop in float32 in the same repeat.
    `peak_share` compares multiply-adds per second with those of a large matrix product. `memory_gb`
    is the peak of PyTorch's allocations on a GPU for this variant: its networks, its optimiser and
    its step, without the batch that all variants share.
    """

    network: str
    stage: str
    variant: str
    clips_per_second: float
    ratio: float
    peak_share: float | None = None
    memory_gb: float | None = None
    idle_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepBench:
    """All rows. `overheads` is, by network, the time of a distillation step divided by that of its
    parts measured separately: the student's step and the teachers' forward passes.
    """

    setup: str
    rows: tuple[StepRow, ...]
    overheads: dict[str, float]


def step_as_lines(bench: StepBench) -> list[str]:
    """The table as lines of text."""
    lines = [
        bench.setup,
        f"{'network':12} {'stage':9} {'variant':22} clips/s   ratio  of peak  memory       idle",
    ]
    for row in bench.rows:
        peak = f"{row.peak_share:7.1f}%" if row.peak_share is not None else f"{'-':>8}"
        memory = f"{row.memory_gb:5.1f}GB" if row.memory_gb is not None else f"{'-':>7}"
        idle = f"{row.idle_share:9.1f}%" if row.idle_share is not None else f"{'-':>10}"
        lines.append(
            f"{row.network:12} {row.stage:9} {row.variant:22} {row.clips_per_second:7.2f} "
            f"{row.ratio:6.2f}x {peak} {memory} {idle}"
        )
    for kind, overhead in bench.overheads.items():
        lines.append(
            f"{kind}: a distillation step takes {overhead:.3f} times its parts measured apart"
        )
    return lines


def step_as_json(bench: StepBench) -> str:
    """The results as JSON."""
    return json.dumps(asdict(bench), indent=1)
