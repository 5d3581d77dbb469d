"""Measures `kdbatch bench step`: kdbatch's training step, the usual loop, and parts of a step."""

import gc
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, repeat
from pathlib import Path
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

from kdbatch.base.progress import Progress
from kdbatch.base.temporary.temporary_folder import temporary_folder
from kdbatch.bench.step.rows import StepBench, StepRow
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
from kdbatch.run.data.prefetch import DeviceBatch
from kdbatch.run.device import select_device
from kdbatch.run.meters.idle_meter import IdleMeter, device_clock
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.shards import Sample

GEMM_SIZE = {"cpu": 1024, "cuda": 8192}  # large enough for the device to reach its peak
BASELINE_LOOP = "usual loop, float32"
FROM_CACHE = "kdbatch, fed by cache"
COMPILED = "kdbatch, compiled"


@dataclass(frozen=True, kw_only=True)
class StepVariant:
    """A warm step. `kept_bytes` stay allocated between steps: weights, gradients, momenta."""

    name: str
    step: Callable[[], None]
    kept_bytes: int
    meter: IdleMeter | None = None
    is_step: bool = True


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One variant in one repeat. `idle_share` is in percent; `memory_gb` is 0 on a CPU."""

    step_seconds: float
    idle_share: float
    memory_gb: float


def bench_step(
    scale: StepScale,
    stored: Sequence[tuple[Path, Sample]],
    *,
    progress: Progress,
    repeats: int = 5,
    seconds: float = 0.0,
) -> StepBench:
    """Measure every variant of every stage and network, in turn, `repeats` times, each for
    `seconds` and at least one step.

    `stored` are videos in shards, which all batches are made of.
    """
    device = select_device()
    videos = [
        StoredVideo(tar, replace(sample, key=f"{sample.key}-{i}"))
        for i, (tar, sample) in zip(range(4 * scale.batch_clips), cycle(stored))
    ]
    peak = _peak_multiply_adds(device)
    rows: list[StepRow] = []
    overheads: dict[str, float] = {}
    pairs = [(backbone, stage) for backbone in scale.backbones for stage in scale.stages]
    with temporary_folder("bench") as frames:
        cache = FrameCache(frames, max_bytes=1 << 33)
        for number, (backbone, stage) in enumerate(pairs):
            progress(number, len(pairs), f"{backbone.title}, {stage}")
            variants, macs = _make_variants(
                stage, backbone, videos, scale=scale, device=device, cache=cache
            )
            timings = _time_all(variants, repeats=repeats, seconds=seconds, device=device)
            rows += [
                _row(variant, timings, stage, backbone, scale=scale, macs=macs, peak=peak)
                for variant in variants
                if variant.is_step
            ]
            if stage == "distill":
                overheads[backbone.kind] = _overhead(timings)
    setup = _describe_setup(scale, device, peak)
    return StepBench(setup=setup, rows=tuple(rows), overheads=overheads)


def _describe_setup(scale: StepScale, device: torch.device, peak: float) -> str:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"
    return (
        f"batches of {scale.title} on {device.type} ({name}), peak {peak / 1e9:.0f} billion "
        "multiply-adds per second"
    )


def _make_variants(
    stage: str,
    backbone: Backbone,
    videos: Sequence[StoredVideo],
    *,
    scale: StepScale,
    device: torch.device,
    cache: FrameCache,
) -> tuple[list[StepVariant], float]:
    """Every variant of a stage, and the multiply-adds of one step."""
    workers = max(1, len(os.sched_getaffinity(0)) - 1) if device.type == "cuda" else 0
    prefetcher = make_prefetcher(
        stage, videos, scale=scale, device=device, cache=cache, num_workers=workers
    )
    batch = next(prefetcher)

    def setup(*, plain: bool = False, stage: str = stage) -> TrainingSetup:
        return make_training_setup(stage, backbone, scale=scale, device=device, plain=plain)

    clock = device_clock(device)
    meters = {name: IdleMeter(clock) for name in ("kdbatch", FROM_CACHE, COMPILED)}
    steps = {
        BASELINE_LOOP: lambda: baseline_loop(setup(plain=True), batch, autocast=False),
        "usual loop, autocast": lambda: baseline_loop(setup(plain=True), batch, autocast=True),
        "kdbatch": lambda: kdbatch_loop(setup(), repeat(batch), meter=meters["kdbatch"]),
        FROM_CACHE: lambda: kdbatch_loop(setup(), prefetcher, meter=meters[FROM_CACHE]),
    }
    if device.type == "cuda":
        steps[COMPILED] = lambda: kdbatch_loop(
            setup(), repeat(batch), meter=meters[COMPILED], compiled=True
        )
    parts = {}
    if stage == "distill":
        parts = {
            "student alone": lambda: kdbatch_loop(
                setup(stage="finetune"), repeat(batch), meter=IdleMeter(clock)
            ),
            "teachers alone": lambda: teachers_forward(setup(), batch),
        }
    variants = []
    for name, make in (steps | parts).items():
        variant = warm_up(name, make, device=device)
        variants.append(replace(variant, is_step=name in steps, meter=meters.get(name)))
    return variants, multiply_adds(setup(plain=True), batch)


def warm_up(
    name: str, make: Callable[[], Callable[[], None]], *, device: torch.device
) -> StepVariant:
    """Make a step and run it once, which compiles, chooses algorithms and fills the cache."""
    gc.collect()  # unused networks must not be freed while this one's memory is counted
    before = _allocated_bytes(device)
    step = make()
    step()
    return StepVariant(name=name, step=step, kept_bytes=_allocated_bytes(device) - before)


def multiply_adds(setup: TrainingSetup, device_batch: DeviceBatch) -> float:
    """Multiply-adds of one step: every forward pass, and twice as many again for the one with a
    gradient.

    `setup` has plain layers, since others compute zeros that pad channels. The multiply-adds are
    not counted by running the backward pass: for grouped convolutions PyTorch's counter (2.15) then
    returns 9 times the forward pass.
    """
    clip_VBCTHW, batch = device_batch
    with FlopCounterMode(display=False) as forward:
        setup.take_step(clip_VBCTHW, batch)
    with FlopCounterMode(display=False) as once, torch.no_grad():
        setup.model.get_submodule("backbone")(clip_VBCTHW[0])
    return forward.get_total_flops() / 2 + once.get_total_flops()


def _time_all(
    variants: Sequence[StepVariant], *, repeats: int, seconds: float, device: torch.device
) -> dict[str, list[Timing]]:
    """Time every variant in every repeat, in an order that rotates."""
    timings: dict[str, list[Timing]] = {variant.name: [] for variant in variants}
    for turn in range(repeats):
        first = turn % len(variants)
        for variant in (*variants[first:], *variants[:first]):
            timings[variant.name].append(time_variant(variant, seconds=seconds, device=device))
    return timings


def time_variant(variant: StepVariant, *, seconds: float, device: torch.device) -> Timing:
    """Run a variant for `seconds`. Its memory is counted without that of the other variants, which
    are on the device too.
    """
    is_gpu = device.type == "cuda"
    others_bytes = _allocated_bytes(device) - variant.kept_bytes
    if is_gpu:
        torch.cuda.reset_peak_memory_stats(device)
        torch.cuda.synchronize(device)
    if variant.meter:
        variant.meter.start()
    start, count = time.perf_counter(), 0
    while not count or time.perf_counter() - start < seconds:
        variant.step()
        count += 1
    if is_gpu:
        torch.cuda.synchronize(device)
    elapsed = time.perf_counter() - start
    total, idle = variant.meter.read() if variant.meter else (elapsed, 0.0)
    peak_bytes = torch.cuda.max_memory_allocated(device) - others_bytes if is_gpu else 0
    return Timing(
        step_seconds=elapsed / count,
        idle_share=100 * idle / total,
        memory_gb=peak_bytes / 1e9,
    )


def _allocated_bytes(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _row(
    variant: StepVariant,
    timings: dict[str, list[Timing]],
    stage: str,
    backbone: Backbone,
    *,
    scale: StepScale,
    macs: float,
    peak: float,
) -> StepRow:
    own = timings[variant.name]
    seconds = median(t.step_seconds for t in own)
    ratios = [
        base.step_seconds / t.step_seconds
        for base, t in zip(timings[BASELINE_LOOP], own, strict=True)
    ]
    idle_share = median(t.idle_share for t in own) if variant.meter else None
    return StepRow(
        network=backbone.title,
        stage=stage,
        variant=variant.name,
        clips_per_second=scale.batch_clips / seconds,
        ratio=median(ratios),
        peak_share=100 * macs / seconds / peak,
        memory_gb=max(t.memory_gb for t in own) or None,
        idle_share=idle_share,
    )


def _overhead(timings: dict[str, list[Timing]]) -> float:
    names = ("kdbatch", "student alone", "teachers alone")
    repeats = zip(*(timings[name] for name in names), strict=True)
    return median(
        whole.step_seconds / (student.step_seconds + teachers.step_seconds)
        for whole, student, teachers in repeats
    )


def _peak_multiply_adds(device: torch.device) -> float:
    """Multiply-adds per second of a square matrix product, the best of five: in bfloat16 on a GPU,
    in float32 on a CPU.
    """
    size = GEMM_SIZE[device.type]
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    x = torch.randn(size, size, device=device, dtype=dtype)
    seconds = []
    for _ in range(5):
        _ = x @ x
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        _ = x @ x
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - start)
    return size**3 / min(seconds)
