"""Times variants of a training step in turn, within a deadline."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from kdbatch.run.meters.idle_meter import IdleMeter

GEMM_SIZE = {"cpu": 1024, "cuda": 8192}  # large enough for the device to reach its peak


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


def warm_up(
    name: str, make: Callable[[], Callable[[], None]], *, device: torch.device
) -> StepVariant:
    """Make a step and run it once, which compiles, chooses algorithms and fills the cache."""
    gc.collect()  # unused networks must not be freed while this one's memory is counted
    before = _allocated_bytes(device)
    step = make()
    step()
    return StepVariant(name=name, step=step, kept_bytes=_allocated_bytes(device) - before)


def time_all(
    variants: Sequence[StepVariant],
    *,
    repeats: int,
    seconds: float,
    deadline: float,
    device: torch.device,
) -> dict[str, list[Timing]]:
    """Time every variant in every repeat, in an order that rotates.

    The first repeat is always made, a later one only if it will probably end before `deadline` (of
    `time.monotonic`). Each variant runs for `seconds`, or less where there is no time for that.
    """
    timings: dict[str, list[Timing]] = {variant.name: [] for variant in variants}
    share = (deadline - time.monotonic()) / (repeats * len(variants))
    taken = 0.0
    for turn in range(repeats):
        began = time.monotonic()
        if turn and began + taken > deadline:
            break
        first = turn % len(variants)
        for variant in (*variants[first:], *variants[:first]):
            timing = time_variant(variant, seconds=min(seconds, max(share, 0.0)), device=device)
            timings[variant.name].append(timing)
        taken = time.monotonic() - began
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


def peak_multiply_adds(device: torch.device) -> float:
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
