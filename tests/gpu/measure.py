"""Prints the table of speeds on this machine's GPU: python tests/gpu/measure.py

Options: --limit=SECONDS (default 220), --network=KIND for one of the two, and --tiny for a try on a
CPU, with one step of each row. It needs torch and the host part of kdbatch. Rows that are fed from
shards and by the cache need PyAV: without it batches come from memory, which a line says. What
matters most comes first: the step of a run, alone and fed. Each part has a time of its own, and a
part or a row that fails is a line. Columns: clips/s, ratio to the usual loop in float32 in the same
turn, memory, idle share.
"""

# ruff: noqa: E402 - torch and kdbatch come after the stand-ins of what is missing

import argparse
import importlib.util
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle, repeat
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]

from support.stand_ins import stand_in_for_videos_and_weights

MISSING = stand_in_for_videos_and_weights()

import torch
from support.gpu import full_batches

from kdbatch.base.progress import silent
from kdbatch.bench.cka.measure import bench_cka
from kdbatch.bench.cka.scale import CkaScale
from kdbatch.bench.step.rows import STEP_HEAD, StepNote, StepOverhead, StepRow, step_line
from kdbatch.bench.step.scale import StepScale
from kdbatch.bench.step.timing import StepVariant, Timing, time_all, warm_up
from kdbatch.bench.step.variants import (
    TrainingSetup,
    baseline_loop,
    kdbatch_loop,
    make_prefetcher,
    make_training_setup,
    teachers_forward,
)
from kdbatch.run.compilation import trial
from kdbatch.run.data.batch import StoredVideo
from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.run.data.prefetch import DeviceBatch
from kdbatch.run.device import select_device
from kdbatch.run.meters.idle_meter import IdleMeter, device_clock
from kdbatch.vocab.backbones import Backbone

BASE, AUTOCAST, OURS = "usual loop, float32", "usual loop, autocast", "kdbatch"
FED, CACHED, MEMORY = "fed from shards", "fed by cache", "fed from memory"
COMPILED, FED_COMPILED, GRAPHS = "compiled", "compiled, fed", "compiled, graphs"
STUDENT, TEACHERS = "student", "teachers"
FINETUNE = (BASE, OURS, COMPILED, FED, FED_COMPILED, CACHED, AUTOCAST)
DISTILL = (BASE, OURS, STUDENT, TEACHERS, FED)
LIMIT, REPEATS = 220.0, 5
KINDS = ("r21d_10", "shufflenet_2x")
Step = Callable[[], None]
Row = StepRow | StepNote | StepOverhead
say = partial(print, flush=True)


@dataclass(frozen=True, kw_only=True)
class Table:
    """The values that all parts share. `videos` are stored in shards; there are none where PyAV is
    missing. A single repeat is a try, of one step.
    """

    scale: StepScale
    device: torch.device
    repeats: int
    videos: Sequence[StoredVideo]
    cache: FrameCache


class Part(NamedTuple):
    """A part of the table, and the time that it has. Its rows are made for a deadline."""

    title: str
    seconds: float
    rows: Callable[[float], Iterator[Row]]


def feeds_of(stage: str, table: Table, until: ExitStack) -> dict[str, Iterator[DeviceBatch]]:
    """Batches by the name of their feed, read by as many workers as there are cores."""
    scale, device = table.scale, table.device
    if not table.videos:
        return {FED: full_batches(stage, scale, device)}
    workers = len(os.sched_getaffinity(0)) if device.type == "cuda" else 0

    def read(cache: FrameCache | None) -> Iterator[DeviceBatch]:
        return until.enter_context(
            make_prefetcher(
                stage, table.videos, scale=scale, device=device, cache=cache, num_workers=workers
            )
        )

    return {FED: read(None)} | ({CACHED: read(table.cache)} if stage == "finetune" else {})


def makers_of(
    stage: str, backbone: Backbone, table: Table, feeds: dict[str, Iterator[DeviceBatch]]
) -> dict[str, Callable[[IdleMeter], Step]]:
    """A maker for each variant of a stage, which is given a meter."""
    scale, device = table.scale, table.device
    batch = next(feeds[FED])

    def setup(*, plain: bool = False, own: str = stage) -> TrainingSetup:
        return make_training_setup(own, backbone, scale=scale, device=device, plain=plain)

    def ours(
        source: Iterator[DeviceBatch], name: str = "", own: str = stage
    ) -> Callable[[IdleMeter], Step]:
        compiled, graphs = name in (COMPILED, FED_COMPILED, GRAPHS), name == GRAPHS
        return lambda meter: kdbatch_loop(
            setup(own=own), source, meter=meter, compiled=compiled, cuda_graphs=graphs
        )

    return {
        BASE: lambda _: baseline_loop(setup(plain=True), batch, autocast=False),
        AUTOCAST: lambda _: baseline_loop(setup(plain=True), batch, autocast=True),
        STUDENT: ours(repeat(batch), own="finetune"),
        TEACHERS: lambda _: teachers_forward(setup(), batch),
        FED_COMPILED: ours(feeds[FED], FED_COMPILED),
        **{name: ours(feed, name) for name, feed in feeds.items()},
        **{name: ours(repeat(batch), name) for name in (OURS, COMPILED, GRAPHS)},
    }


def step_rows(
    stage: str, backbone: Backbone, names: Sequence[str], table: Table, deadline: float
) -> Iterator[Row]:
    """Rows of the variants `names` of one stage. A variant that fails is a note."""
    with ExitStack() as until:
        makers = makers_of(stage, backbone, table, feeds_of(stage, table, until))
        variants: list[StepVariant] = []
        for name in names:
            meter = IdleMeter(device_clock(table.device))
            is_metered = name not in (BASE, AUTOCAST, TEACHERS)
            try:
                variant = warm_up(name, partial(makers[name], meter), device=table.device)
            except Exception as error:  # of the compiler, or for want of memory
                yield StepNote(note=f"{backbone.title}, {stage}, {name}: {error!r:.200}")
            else:
                variants.append(replace(variant, meter=meter if is_metered else None))
        timings = time_all(
            variants,
            repeats=table.repeats,
            seconds=0.4 if table.repeats > 1 else 0.0,
            deadline=deadline,
            device=table.device,
        )
    for variant in variants:
        if variant.name not in (STUDENT, TEACHERS):
            yield row_of(variant, timings, stage, backbone, table)
    if {OURS, STUDENT, TEACHERS} <= timings.keys():
        whole, *parts = (
            median(t.step_seconds for t in timings[name]) for name in (OURS, STUDENT, TEACHERS)
        )
        yield StepOverhead(network=backbone.title, overhead=whole / sum(parts))


def row_of(
    variant: StepVariant,
    timings: dict[str, list[Timing]],
    stage: str,
    backbone: Backbone,
    table: Table,
) -> StepRow:
    own, scale = timings[variant.name], table.scale
    ratios = [a.step_seconds / b.step_seconds for a, b in zip(timings[BASE], own, strict=True)]
    return StepRow(
        network=backbone.title,
        stage=stage,
        variant=MEMORY if variant.name == FED and not table.videos else variant.name,
        batch_clips=scale.batch_clips,
        num_frames=scale.num_frames,
        size_pixels=scale.size_pixels,
        clips_per_second=scale.batch_clips / median(t.step_seconds for t in own),
        ratio=median(ratios),
        memory_gb=max(t.memory_gb for t in own) or None,
        idle_share=median(t.idle_share for t in own) if variant.meter else None,
    )


def cka_rows(backbone: Backbone, table: Table, _: float) -> Iterator[Row]:
    """The time of a map of all convolutions, batch norms and ReLUs, over that of its parts."""
    scale = CkaScale(
        backbone=backbone,
        layers="act",
        num_clips=table.scale.batch_clips,
        num_frames=table.scale.num_frames,
        size_pixels=table.scale.size_pixels,
    )
    bench = bench_cka(scale, progress=silent, repeats=min(table.repeats, 3))
    of = f"{bench.overhead:.2f} of its forward passes and Gram products"
    yield StepNote(note=f"{backbone.title}: a map of {bench.setup} takes {of}")


def store_videos(folder: Path, num_clips: int) -> list[StoredVideo]:
    """A few videos in shards, each several times; none where packages are missing to store them."""
    if "av" in MISSING or importlib.util.find_spec("pyarrow") is None:
        return []
    from kdbatch.bench.data.loose_videos import shard_videos  # noqa: PLC0415 - it needs PyAV
    from kdbatch.cli.bench import make_few_toys  # noqa: PLC0415

    stored = shard_videos(make_few_toys(folder / "toys"), folder, processes=0, progress=silent)
    return [
        StoredVideo(tar, replace(sample, key=f"{sample.key}-{i}"))
        for i, (tar, sample) in zip(range(num_clips), cycle(stored))
    ]


def parts_of(table: Table) -> Iterator[Part]:
    """The parts by importance, for 220 s on an H200, where compiling takes 21 s (R(2+1)D) and 47 s
    (ShuffleNet); CUDA graphs come where time is left.
    """
    backbones = table.scale.backbones
    finetune = [name for name in FINETUNE if table.videos or name != CACHED]

    def steps(b: Backbone, stage: str, names: Sequence[str], seconds: float) -> Part:
        rows = partial(step_rows, stage, b, names, table)
        return Part(f"{b.title}, {stage}, {names[-1]}", seconds, rows)

    yield from (steps(b, "finetune", finetune, s) for b, s in zip(backbones, (60.0, 85.0)))
    yield from (steps(b, "distill", DISTILL, 20.0) for b in backbones)
    yield from (Part(f"{b.title}, CKA", 15.0, partial(cka_rows, b, table)) for b in backbones)
    yield from (steps(b, "pretrain", (BASE, OURS, FED), 15.0) for b in backbones)
    yield from (steps(b, "finetune", (BASE, COMPILED, GRAPHS), 40.0) for b in backbones)


def say_part(part: Part, seconds: float) -> None:
    """Print the rows of a part. What takes longer than it may is stopped: compiling, mostly."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"it took longer than {seconds:.0f} s")

    signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        for row in part.rows(time.monotonic() + 0.9 * seconds):
            say(step_line(row))
    except Exception as error:  # of one part, for whatever reason: the others are measured
        say(f"{part.title}: {error!r:.200}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the table of speeds on this machine.")
    parser.add_argument("--limit", type=float, default=LIMIT)
    parser.add_argument("--network", choices=KINDS)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    began, device = time.monotonic(), select_device()
    width, (clips, frames, pixels) = (0.0625, (4, 4, 32)) if options.tiny else (1.0, (64, 16, 112))
    kinds = [options.network] if options.network else KINDS
    backbones = tuple(Backbone(kind=kind, width=width) for kind in kinds)
    scale = StepScale(backbones=backbones, batch_clips=clips, num_frames=frames, size_pixels=pixels)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"
    say(f"torch {torch.__version__} on {device.type} ({name}), batches of {scale.title}")
    for package in MISSING:
        say(f"{package} is not installed; nothing here needs it")
    if options.tiny:
        trial.BACKEND = "eager"  # a real compiler takes minutes on a CPU
    with TemporaryDirectory() as folder:
        table = Table(
            scale=scale,
            device=device,
            repeats=1 if options.tiny else REPEATS,
            videos=store_videos(Path(folder), scale.batch_clips),
            cache=FrameCache(Path(folder, "frames"), max_bytes=1 << 33),
        )
        if not table.videos:
            say("without PyAV and pyarrow no video is stored, so batches come from memory")
        say(STEP_HEAD)
        for part in parts_of(table):
            seconds = part.seconds * max(options.limit / LIMIT, 1.0)
            left = began + options.limit - time.monotonic()
            if left < seconds / 2:
                say(f"{part.title}: no time left; raise --limit")
            else:
                say_part(part, min(seconds, left))
    say(f"measured in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
