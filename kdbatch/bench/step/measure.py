"""Measures `kdbatch bench step`: kdbatch's training step, the usual loop, and parts of a step."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import cycle, repeat
from pathlib import Path
from statistics import median

import torch

from kdbatch.base.command_lines import bench_step_command
from kdbatch.base.progress import Progress
from kdbatch.base.temporary.temporary_folder import temporary_folder
from kdbatch.bench.step.least import affordable_scale, least_of, multiply_adds_of
from kdbatch.bench.step.rows import StepNote, StepOverhead, StepRow
from kdbatch.bench.step.scale import StepScale
from kdbatch.bench.step.timing import StepVariant, Timing, peak_multiply_adds, time_all, warm_up
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
from kdbatch.run.data.prefetch import DeviceBatch
from kdbatch.run.device import select_device
from kdbatch.run.meters.idle_meter import IdleMeter, device_clock
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.shards.index import Sample

BASELINE_LOOP = "usual loop, float32"
FROM_SHARDS, FROM_CACHE = "fed from shards", "fed by cache"
COMPILED = "kdbatch, compiled"
STUDENT, TEACHERS = "student alone", "teachers alone"
_MOST_ROWS = 7  # of a stage
LIMIT_SECONDS = 120.0

BenchOutput = StepNote | StepRow | StepOverhead
Maker = Callable[[], Callable[[], None]]
"""Makes a network and returns its step."""


@dataclass(frozen=True, kw_only=True)
class _Bench:
    """The settings that all networks and stages share. `deadline` is a time of `time.monotonic`."""

    scale: StepScale
    videos: Sequence[StoredVideo]
    device: torch.device
    cache: FrameCache
    peak: float
    repeats: int
    seconds: float
    deadline: float
    compiled: bool


def bench_step(
    scale: StepScale,
    stored: Sequence[tuple[Path, Sample]],
    *,
    progress: Progress,
    repeats: int = 5,
    seconds: float = 0.0,
    limit_seconds: float = LIMIT_SECONDS,
    compiled: bool = False,
) -> Iterator[BenchOutput]:
    """Measure every variant of every stage and network, in turn, up to `repeats` times, each for
    up to `seconds` and at least one step; yield rows as soon as they are known.

    It ends after about `limit_seconds`: on a CPU clips and batches are made smaller, repeats are
    left out, and in the end rows, which is said. With `compiled` there are compiled rows, whose
    compilation takes the time that it takes. `stored` are videos in shards, which all batches are
    made of.
    """
    deadline = time.monotonic() + limit_seconds
    device = select_device()
    videos = [
        StoredVideo(tar, replace(sample, key=f"{sample.key}-{i}"))
        for i, (tar, sample) in zip(range(scale.batch_clips), cycle(stored))
    ]
    peak = peak_multiply_adds(device)
    yield StepNote(note=_describe_setup(scale, device, peak))
    pairs = [(backbone, stage) for backbone in scale.backbones for stage in scale.stages]
    with temporary_folder("bench") as frames:
        bench = _Bench(
            scale=scale,
            videos=videos,
            device=device,
            cache=FrameCache(frames, max_bytes=1 << 33),
            peak=peak,
            repeats=repeats,
            seconds=seconds,
            deadline=deadline,
            compiled=compiled,
        )
        is_cpu = device.type == "cpu"
        costs = [_relative_time(s, b, scale) if is_cpu else 1.0 for b, s in pairs]
        for number, (backbone, stage) in enumerate(pairs):
            progress(number, len(pairs), f"{backbone.title}, {stage}")
            now = time.monotonic()
            share = costs[number] / sum(costs[number:])
            own = replace(bench, deadline=now + (deadline - now) * share)
            if now > deadline:
                yield _left_out(backbone, stage, ["all rows"])
            else:
                yield from _bench_pair(stage, backbone, own)


def _describe_setup(scale: StepScale, device: torch.device, peak: float) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"
    return (
        f"batches of {scale.title} on {device.type} ({name}), peak {peak / 1e9:.0f} billion "
        "multiply-adds per second"
    )


def _left_out(
    backbone: Backbone, stage: str, names: Sequence[str], least_seconds: float = 0.0
) -> StepNote:
    """The rows that are left out, and the command that has time for them."""
    needed = math.ceil(3 * _MOST_ROWS * least_seconds / 60) * 60
    alone = bench_step_command(
        backbone=backbone.kind, stage=stage, limit=needed if needed > LIMIT_SECONDS else 0
    )
    return StepNote(
        note=f"{backbone.title}, {stage}: no time for {', '.join(names)}. Measure it alone: {alone}"
    )


def _bench_pair(stage: str, backbone: Backbone, bench: _Bench) -> Iterator[BenchOutput]:
    """Rows of one stage of one network."""
    scale, device = bench.scale, bench.device
    least_seconds = 0.0
    with ExitStack() as feeds:
        if device.type == "cpu":
            scale, least_seconds = affordable_scale(
                stage,
                scale,
                num_rows=3 if bench.compiled else _MOST_ROWS if stage == "distill" else 5,
                deadline=bench.deadline,
                seconds_of=lambda tried: _step_seconds(stage, backbone, tried, bench),
            )
            if scale != bench.scale:
                yield StepNote(note=f"{backbone.title}, {stage}: in batches of {scale.title}")
        meters: dict[str, IdleMeter] = {}
        steps, batch = _makers(stage, backbone, scale, bench, feeds, meters)
        variants = _warm_up_in_time(steps, meters, bench)
        timings = time_all(
            variants,
            repeats=bench.repeats,
            seconds=bench.seconds,
            deadline=bench.deadline,
            device=device,
        )
        is_late = device.type == "cpu" and time.monotonic() > bench.deadline
        macs = None if is_late else multiply_adds_of(stage, backbone, scale, batch)
    for variant in variants:
        if variant.is_step:
            yield _row(variant, timings, stage, backbone, scale=scale, macs=macs, peak=bench.peak)
    if timings.get(STUDENT) and timings.get(TEACHERS):
        yield StepOverhead(network=backbone.title, overhead=_overhead(timings))
    if missing := [name for name in steps if name not in timings]:
        yield _left_out(backbone, stage, missing, least_seconds)


def _warm_up_in_time(
    steps: dict[str, Maker], meters: dict[str, IdleMeter], bench: _Bench
) -> list[StepVariant]:
    """The variants that there is time for: each is warmed up, and will be timed once at least."""
    variants: list[StepVariant] = []
    slowest = 0.0
    for name, make in steps.items():
        began = time.monotonic()
        if variants and began + (len(variants) + 2) * slowest > bench.deadline:
            break
        variant = warm_up(name, make, device=bench.device)
        slowest = max(slowest, time.monotonic() - began)
        variants.append(
            replace(variant, is_step=name not in (STUDENT, TEACHERS), meter=meters.get(name))
        )
    return variants


def _relative_time(stage: str, backbone: Backbone, scale: StepScale) -> float:
    """The share of the time that a stage has on a CPU, whose steps take the square of that: their
    multiply-adds, and memory traffic that takes about as long as 4e9 of them.
    """
    gmac = BACKBONE_SPECS[backbone.kind].gmac_per_clip * backbone.width**2 + 4.0 * backbone.width
    least = least_of(stage, scale, scale.num_frames, scale.size_pixels)
    return math.sqrt(least.batch_clips * (3.0 if stage == "finetune" else 5.0) * gmac)


def _step_seconds(stage: str, backbone: Backbone, scale: StepScale, bench: _Bench) -> float:
    """The time of a step of the usual loop, after one that chooses algorithms."""
    with ExitStack() as feeds:
        steps, _ = _makers(stage, backbone, scale, bench, feeds, {})
        step = steps[BASELINE_LOOP]()
        step()
        began = time.monotonic()
        step()
        return max(time.monotonic() - began, 1e-6)


def _makers(
    stage: str,
    backbone: Backbone,
    scale: StepScale,
    bench: _Bench,
    feeds: ExitStack,
    meters: dict[str, IdleMeter],
) -> tuple[dict[str, Maker], DeviceBatch]:
    """A maker for each variant, and a batch. Meters are added to `meters` by name, and `feeds` ends
    the workers that read.
    """
    device = bench.device
    # Of a GPU all cores read, as the step needs little of one; on a CPU a run reads in its process.
    workers = len(os.sched_getaffinity(0)) if device.type == "cuda" else 0

    def fed_by(cache: FrameCache | None) -> Iterator[DeviceBatch]:
        return feeds.enter_context(
            make_prefetcher(
                stage, bench.videos, scale=scale, device=device, cache=cache, num_workers=workers
            )
        )

    def setup(*, plain: bool = False, stage: str = stage) -> TrainingSetup:
        return make_training_setup(stage, backbone, scale=scale, device=device, plain=plain)

    def ours(name: str, batches: Iterator[DeviceBatch], *, compiled: bool = False) -> Maker:
        meters[name] = IdleMeter(device_clock(device))
        return lambda: kdbatch_loop(setup(), batches, meter=meters[name], compiled=compiled)

    batch = next(fed := fed_by(bench.cache))
    steps: dict[str, Maker] = {
        BASELINE_LOOP: lambda: baseline_loop(setup(plain=True), batch, autocast=False),
        "kdbatch": ours("kdbatch", repeat(batch)),
    }
    if bench.compiled:
        return {**steps, COMPILED: ours(COMPILED, repeat(batch), compiled=True)}, batch
    steps[FROM_SHARDS] = ours(FROM_SHARDS, fed_by(None))
    steps[FROM_CACHE] = ours(FROM_CACHE, fed)
    steps["usual loop, autocast"] = lambda: baseline_loop(setup(plain=True), batch, autocast=True)
    if stage == "distill":
        meter = IdleMeter(device_clock(device))
        steps[STUDENT] = lambda: kdbatch_loop(setup(stage="finetune"), repeat(batch), meter=meter)
        steps[TEACHERS] = lambda: teachers_forward(setup(), batch)
    return steps, batch


def _row(
    variant: StepVariant,
    timings: dict[str, list[Timing]],
    stage: str,
    backbone: Backbone,
    *,
    scale: StepScale,
    macs: float | None,
    peak: float,
) -> StepRow:
    own = timings[variant.name]
    seconds = median(t.step_seconds for t in own)
    ratios = [
        base.step_seconds / t.step_seconds
        for base, t in zip(timings[BASELINE_LOOP], own, strict=True)
    ]
    return StepRow(
        network=backbone.title,
        stage=stage,
        variant=variant.name,
        batch_clips=scale.batch_clips,
        num_frames=scale.num_frames,
        size_pixels=scale.size_pixels,
        clips_per_second=scale.batch_clips / seconds,
        ratio=median(ratios),
        peak_share=100 * macs / seconds / peak if macs else None,
        memory_gb=max(t.memory_gb for t in own) or None,
        idle_share=median(t.idle_share for t in own) if variant.meter else None,
    )


def _overhead(timings: dict[str, list[Timing]]) -> float:
    repeats = zip(*(timings[name] for name in ("kdbatch", STUDENT, TEACHERS)), strict=True)
    return median(
        whole.step_seconds / (student.step_seconds + teachers.step_seconds)
        for whole, student, teachers in repeats
    )
