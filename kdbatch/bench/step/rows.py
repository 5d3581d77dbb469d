"""Results of `kdbatch bench step`: rows, and their output formats, one line each."""

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """One variant of a step; medians over the repeats. Shares are in percent.

    A batch has `batch_clips` clips of `num_frames` x `size_pixels` x `size_pixels`, which may all
    be less than was asked for, on a device that is slow. `ratio` compares the speed with that of
    the usual loop in float32 in the same repeat. `peak_share` compares multiply-adds per second
    with those of a large matrix product. `memory_gb` is the peak of PyTorch's allocations on a GPU
    for this variant: its networks, its optimiser and its step, without the batch that all variants
    share. `idle_share` is the share of the time in which the device had nothing of a step to do.
    """

    network: str
    stage: str
    variant: str
    batch_clips: int
    num_frames: int
    size_pixels: int
    clips_per_second: float
    ratio: float
    peak_share: float | None = None
    memory_gb: float | None = None
    idle_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepOverhead:
    """The time of a distillation step divided by that of its parts measured separately: the
    student's step and the teachers' forward passes.
    """

    network: str
    overhead: float


@dataclass(frozen=True, kw_only=True)
class StepNote:
    """A line of text: what is measured on, or what was left out."""

    note: str


STEP_HEAD = f"{'network':10} {'stage':8} {'variant':20} batch clips/s ratio  peak  memory idle"


def step_line(output: StepRow | StepOverhead | StepNote) -> str:
    """A row, an overhead or a note as a line of text."""
    if isinstance(output, StepNote):
        return output.note
    if isinstance(output, StepOverhead):
        return (
            f"{output.network}: a distillation step takes {output.overhead:.3f} times its parts "
            "measured apart"
        )
    peak = f"{output.peak_share:4.1f}%" if output.peak_share is not None else f"{'-':>5}"
    memory = f"{output.memory_gb:5.1f}GB" if output.memory_gb is not None else f"{'-':>7}"
    idle = f"{output.idle_share:3.0f}%" if output.idle_share is not None else f"{'-':>4}"
    return (
        f"{output.network:10} {output.stage:8} {output.variant:20} {output.batch_clips:5d} "
        f"{output.clips_per_second:7.5g} {output.ratio:4.2f}x {peak} {memory} {idle}"
    )


def step_json_line(output: StepRow | StepOverhead | StepNote) -> str:
    """The same as one line of JSON."""
    return json.dumps(asdict(output))
