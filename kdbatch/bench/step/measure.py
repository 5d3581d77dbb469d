"""`kdbatch bench step`: clips per second of training steps, beside the usual loop and the parts of
a step, measured in one run.
"""

import gc
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import cycle, repeat
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdbatch.base.progress import Progress
from kdbatch.bench.step.scale import StepScale
from kdbatch.bench.step.variants import (
    TrainingSetup,
    baseline_loop,
    kdbatch_loop,
    make_prefetcher,
    make_training_setup,
    teachers_forward,
)
from kdbatch.run.data.batch import StoredVideo
from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.run.data.prefetch import DeviceBatch, DevicePrefetcher
from kdbatch.run.device import own_device
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.shards import Sample

GEMM = {"cpu": 1024, "cuda": 8192}  # large enough for its device to be at its best
BASELINE_LOOP = "usual loop, float32"


@dataclass(frozen=True, kw_only=True)
class StepRow:
    """Medians over the repeats. `ratio` is of speeds, to the usual loop in float32 in the same
    repeat; shares are in percent.

    `peak_share` is of multiply-adds to those of a large matrix product; `memory_gb` is the most
    that PyTorch gave out on a GPU for this way: its networks, its optimiser and its step, not the
    batch that all ways share.
    """

    network: str
    stage: str
    variant: str
    clips_per_second: float
    ratio: float
    peak_share: float | None = None
    memory_gb: float | None = None
    data_wait_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class StepBench:
    """`overheads`: by network, the time of a distillation step over that of its parts, the
    student's step and the teachers' forward passes, measured apart.
    """

    setup: str
    rows: tuple[StepRow, ...]
    overheads: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class StepVariant:
    """`kept_bytes` are those that stay on a GPU between two steps: weights, gradients, momenta."""

    name: str
    step: Callable[[], None]
    kept_bytes: int
    prefetcher: DevicePrefetcher | None = None
    is_step: bool = True


def bench_step(
    scale: StepScale,
    stored: Sequence[tuple[Path, Sample]],
    *,
    progress: Progress,
    repeats: int = 5,
    seconds: float = 0.0,
) -> StepBench:
    """Measure every way of every stage and network, in turn, `repeats` times, each for `seconds`
    and at least one step.

    `stored` are videos in shards: batches are made of them, and the fed way reads them.
    """
    device = own_device()
    videos = [
        StoredVideo(tar, replace(sample, key=f"{sample.key}-{i}"))
        for i, (tar, sample) in zip(range(4 * scale.batch_clips), cycle(stored))
    ]
    peak = _peak_multiply_adds(device)
    rows: list[StepRow] = []
    overheads: dict[str, float] = {}
    pairs = [(backbone, stage) for backbone in scale.backbones for stage in scale.stages]
    with TemporaryDirectory(prefix="kdbatch-bench-") as frames:
        cache = FrameCache(Path(frames), max_bytes=1 << 33)
        for number, (backbone, stage) in enumerate(pairs):
            progress(number, len(pairs), f"{backbone.title}, {stage}")
            ways, macs = _make_variants(
                stage, backbone, videos, scale=scale, device=device, cache=cache
            )
            taken = _time_all(ways, repeats=repeats, seconds=seconds, device=device)
            rows += [
                _row(way, taken, stage, backbone, scale=scale, macs=macs, peak=peak)
                for way in ways
                if way.is_step
            ]
            if stage == "distill":
                overheads[backbone.kind] = _overhead(taken)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"
    world = f"batches of {scale.title} on {device.type} ({name}), peak {peak / 1e9:.0f} billion multiply-adds per second"
    return StepBench(setup=world, rows=tuple(rows), overheads=overheads)


def step_as_lines(bench: StepBench) -> list[str]:
    """The table for a person."""
    lines = [
        bench.setup,
        f"{'network':12} {'stage':9} {'way':22} clips/s   ratio  of peak  memory  data wait",
    ]
    for row in bench.rows:
        peak = f"{row.peak_share:7.1f}%" if row.peak_share is not None else f"{'-':>8}"
        memory = f"{row.memory_gb:5.1f}GB" if row.memory_gb is not None else f"{'-':>7}"
        wait = f"{row.data_wait_share:9.1f}%" if row.data_wait_share is not None else f"{'-':>10}"
        lines.append(
            f"{row.network:12} {row.stage:9} {row.variant:22} {row.clips_per_second:7.2f} {row.ratio:6.2f}x {peak} {memory} {wait}"
        )
    return [
        *lines,
        *(
            f"{kind}: a distillation step takes {x:.3f} times its parts measured apart"
            for kind, x in bench.overheads.items()
        ),
    ]


def step_as_json(bench: StepBench) -> str:
    """The same for a program."""
    return json.dumps(asdict(bench), indent=1)


def _make_variants(
    stage: str,
    backbone: Backbone,
    videos: Sequence[StoredVideo],
    *,
    scale: StepScale,
    device: torch.device,
    cache: FrameCache,
) -> tuple[list[StepVariant], float]:
    """Every way of a stage, and the multiply-adds of one step."""
    workers = max(1, len(os.sched_getaffinity(0)) - 1) if device.type == "cuda" else 0
    feed = make_prefetcher(
        stage, videos, scale=scale, device=device, cache=cache, num_workers=workers
    )
    fed = next(feed)

    def made(*, plain: bool = False, of: str = stage) -> TrainingSetup:
        return make_training_setup(of, backbone, scale=scale, device=device, plain=plain)

    def way(
        name: str,
        make: Callable[[], Callable[[], None]],
        *,
        feed: DevicePrefetcher | None = None,
        is_step: bool = True,
    ) -> StepVariant:
        return warm_up(name, make, device=device, prefetcher=feed, is_step=is_step)

    ways = [
        way(BASELINE_LOOP, lambda: baseline_loop(made(plain=True), fed, autocast=False)),
        way("usual loop, autocast", lambda: baseline_loop(made(plain=True), fed, autocast=True)),
        way("kdbatch", lambda: kdbatch_loop(made(), repeat(fed))),
        way("kdbatch, fed by cache", lambda: kdbatch_loop(made(), feed), feed=feed),
    ]
    if device.type == "cuda":
        ways.append(
            way("kdbatch, compiled", lambda: kdbatch_loop(made(), repeat(fed), compiled=True))
        )
    if stage == "distill":
        ways.append(
            way(
                "student alone",
                lambda: kdbatch_loop(made(of="finetune"), repeat(fed)),
                is_step=False,
            )
        )
        ways.append(way("teachers alone", lambda: teachers_forward(made(), fed), is_step=False))
    return ways, multiply_adds(made(), fed)


def warm_up(
    name: str,
    make: Callable[[], Callable[[], None]],
    *,
    device: torch.device,
    prefetcher: DevicePrefetcher | None = None,
    is_step: bool = True,
) -> StepVariant:
    """What `make` makes, after its first step, which compiles, chooses algorithms and fills the
    cache.
    """
    gc.collect()  # networks that nobody needs must not go while this one is counted
    before = _allocated_bytes(device)
    step = make()
    step()
    return StepVariant(
        name=name,
        step=step,
        kept_bytes=_allocated_bytes(device) - before,
        prefetcher=prefetcher,
        is_step=is_step,
    )


def multiply_adds(made: TrainingSetup, fed: DeviceBatch) -> float:
    """Those of one step: every forward pass, and for the one with a gradient twice as many again.

    Not counted by running the backward pass: of grouped convolutions PyTorch's counter (2.15) then
    makes 9 times the forward pass.
    """
    clip_VBCTHW, batch = fed
    with FlopCounterMode(display=False) as forward:
        made.take_step(clip_VBCTHW, batch)
    with FlopCounterMode(display=False) as once, torch.no_grad():
        made.model.get_submodule("backbone")(clip_VBCTHW[0])
    return forward.get_total_flops() / 2 + once.get_total_flops()


def _time_all(
    ways: Sequence[StepVariant], *, repeats: int, seconds: float, device: torch.device
) -> dict[str, list[tuple[float, float, float]]]:
    """(seconds per step, share of them without data, memory) of every way in every repeat, in an
    order that changes.
    """
    taken: dict[str, list[tuple[float, float, float]]] = {way.name: [] for way in ways}
    for turn in range(repeats):
        for way in (*ways[turn % len(ways) :], *ways[: turn % len(ways)]):
            taken[way.name].append(time_variant(way, seconds=seconds, device=device))
    return taken


def time_variant(
    way: StepVariant, *, seconds: float, device: torch.device
) -> tuple[float, float, float]:
    """Seconds per step, share of them without data, and the memory of this way alone, though all of
    a stage lie on the device.
    """
    gpu = device.type == "cuda"
    others_bytes = _allocated_bytes(device) - way.kept_bytes
    if gpu:
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    waited = way.prefetcher.data_wait_seconds if way.prefetcher else 0.0
    began, count = time.perf_counter(), 0
    while not count or time.perf_counter() - began < seconds:
        way.step()
        count += 1
    if gpu:
        torch.cuda.synchronize(device)
    spent = time.perf_counter() - began
    share = 100 * (way.prefetcher.data_wait_seconds - waited) / spent if way.prefetcher else 0.0
    return (
        spent / count,
        share,
        (torch.cuda.max_memory_allocated(device) - others_bytes) / 1e9 if gpu else 0.0,
    )


def _allocated_bytes(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _row(
    way: StepVariant,
    taken: dict[str, list[tuple[float, float, float]]],
    stage: str,
    backbone: Backbone,
    *,
    scale: StepScale,
    macs: float,
    peak: float,
) -> StepRow:
    second = median(s for s, _, _ in taken[way.name])
    memory = max(m for _, _, m in taken[way.name])
    return StepRow(
        network=backbone.title,
        stage=stage,
        variant=way.name,
        clips_per_second=scale.batch_clips / second,
        ratio=median(
            base / own
            for (base, _, _), (own, _, _) in zip(taken[BASELINE_LOOP], taken[way.name], strict=True)
        ),
        peak_share=100 * macs / second / peak,
        memory_gb=memory or None,
        data_wait_share=median(share for _, share, _ in taken[way.name])
        if way.prefetcher
        else None,
    )


def _overhead(taken: dict[str, list[tuple[float, float, float]]]) -> float:
    parts = zip(taken["kdbatch"], taken["student alone"], taken["teachers alone"], strict=True)
    return median(
        whole / (student + teachers) for (whole, _, _), (student, _, _), (teachers, _, _) in parts
    )


def _peak_multiply_adds(device: torch.device) -> float:
    """Multiply-adds per second of a square matrix product, in bfloat16 on a GPU and float32 on a
    CPU: the best of five.
    """
    size = GEMM[device.type]
    x = torch.randn(
        size, size, device=device, dtype=torch.bfloat16 if device.type == "cuda" else torch.float32
    )
    spent = []
    for _ in range(5):
        _ = x @ x
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        _ = x @ x
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        spent.append(time.perf_counter() - began)
    return size**3 / min(spent)
