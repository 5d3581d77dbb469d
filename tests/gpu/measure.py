"""Prints the table of speeds on this machine's GPU: python tests/gpu/measure.py

Options: --limit=SECONDS (default 220), --network=KIND for one of the two, and --tiny for a try on a
CPU, with one step of each row. It needs torch and the host
part of kdbatch. Rows that are fed from shards and by the cache need PyAV: without it batches come
from memory, which a line says. Networks are compiled in the end, in rows of their own. A part that
fails is a line, and the others are measured. Columns: clips/s, ratio to the usual loop in float32
in the same turn, memory, idle share.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1])]


class MissingPackage(ModuleType):
    """Stands for a package that is not installed: it can be imported, and its names are classes
    that nothing here makes objects of.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # so that its modules can be imported, too
        self.__version__ = "17.0.0"

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})


def stand_in_for(*names: str) -> list[str]:
    """Let modules be imported that need these packages; returns those that are missing."""
    packages = sorted({name.partition(".")[0] for name in names})
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    for name in names:
        if name.partition(".")[0] in missing:
            sys.modules[name] = MissingPackage(name)
    return missing


AV = [f"av.video.{name}" for name in ("codeccontext", "format", "frame", "plane", "reformatter")]
AV += ["av", "av.error", "av.packet", "av.video", "av.container", "av.stream", "av.video.stream"]
MISSING = stand_in_for(*AV, "safetensors", "safetensors.torch")

import torch  # noqa: E402 - after the stand-ins, as the modules below
from support.gpu import full_batches  # noqa: E402

from kdbatch.base.progress import silent  # noqa: E402
from kdbatch.bench.cka.measure import bench_cka  # noqa: E402
from kdbatch.bench.cka.scale import CkaScale  # noqa: E402
from kdbatch.bench.step.rows import (  # noqa: E402
    STEP_HEAD,
    StepNote,
    StepOverhead,
    StepRow,
    step_line,
)
from kdbatch.bench.step.scale import StepScale  # noqa: E402
from kdbatch.bench.step.timing import Timing, time_all, warm_up  # noqa: E402
from kdbatch.bench.step.variants import (  # noqa: E402
    baseline_loop,
    kdbatch_loop,
    make_training_setup,
    teachers_forward,
)
from kdbatch.run.compilation import trial  # noqa: E402
from kdbatch.run.data.prefetch import DeviceBatch  # noqa: E402
from kdbatch.run.device import select_device  # noqa: E402
from kdbatch.run.meters.idle_meter import IdleMeter, device_clock  # noqa: E402
from kdbatch.vocab.backbones import Backbone  # noqa: E402

BASE, OURS, FED = "usual loop, float32", "kdbatch", "fed from memory"
COMPILED, GRAPHS = "compiled", "compiled, graphs"
STUDENT, TEACHERS = "student", "teachers"
COMPILE_SECONDS = 50.0  # of one network
REPEATS = 5
KINDS = ("r21d_10", "shufflenet_2x")
Step = Callable[[], None]
Row = StepRow | StepNote | StepOverhead


def row_seconds(repeats: int) -> float:
    """A single repeat is a try, of one step."""
    return 0.4 if repeats > 1 else 0.0


def median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


def makers_of(
    backbone: Backbone,
    stage: str,
    scale: StepScale,
    device: torch.device,
    meters: dict[str, IdleMeter],
    *,
    compiled: bool,
) -> dict[str, Callable[[], Step]]:
    """A maker for each variant of a stage; meters are added to `meters`."""
    batches = full_batches(scale, device)
    batch = next(batches)

    def ours(name: str, source: Iterator[DeviceBatch], *, own: str = stage) -> Step:
        setup = make_training_setup(own, backbone, scale=scale, device=device)
        meters[name] = IdleMeter(device_clock(device))
        return kdbatch_loop(
            setup,
            source,
            meter=meters[name],
            compiled=name in (COMPILED, GRAPHS),
            cuda_graphs=name == GRAPHS,
        )

    def usual(*, autocast: bool) -> Step:
        setup = make_training_setup(stage, backbone, scale=scale, device=device, plain=True)
        return baseline_loop(setup, batch, autocast=autocast)

    def teachers() -> Step:
        return teachers_forward(
            make_training_setup(stage, backbone, scale=scale, device=device), batch
        )

    if compiled:
        names = (OURS, COMPILED, GRAPHS)
        rows = {name: lambda n=name: ours(n, repeat(batch)) for name in names}
        return {BASE: lambda: usual(autocast=False), **rows}
    makers: dict[str, Callable[[], Step]] = {
        BASE: lambda: usual(autocast=False),
        "usual loop, autocast": lambda: usual(autocast=True),
        OURS: lambda: ours(OURS, repeat(batch)),
        FED: lambda: ours(FED, batches),
    }
    if stage == "distill":
        makers[STUDENT] = lambda: ours(STUDENT, repeat(batch), own="finetune")
        makers[TEACHERS] = teachers
    return makers


def step_rows(
    backbone: Backbone,
    stage: str,
    scale: StepScale,
    device: torch.device,
    *,
    deadline: float,
    repeats: int,
    compiled: bool,
) -> Iterator[Row]:
    """Rows of one stage."""
    meters: dict[str, IdleMeter] = {}
    makers = makers_of(backbone, stage, scale, device, meters, compiled=compiled)
    warm = [warm_up(name, make, device=device) for name, make in makers.items()]
    variants = [replace(variant, meter=meters.get(variant.name)) for variant in warm]
    timings = time_all(
        variants, repeats=repeats, seconds=row_seconds(repeats), deadline=deadline, device=device
    )
    for name in makers:
        if name not in (STUDENT, TEACHERS):
            yield row_of(name, timings, backbone, stage, scale, is_metered=name in meters)
    if stage == "distill":
        whole, *parts = (
            median([t.step_seconds for t in timings[name]]) for name in (OURS, STUDENT, TEACHERS)
        )
        yield StepOverhead(network=backbone.title, overhead=whole / sum(parts))


def row_of(
    name: str,
    timings: dict[str, list[Timing]],
    backbone: Backbone,
    stage: str,
    scale: StepScale,
    *,
    is_metered: bool,
) -> StepRow:
    own = timings[name]
    ratios = [a.step_seconds / b.step_seconds for a, b in zip(timings[BASE], own, strict=True)]
    return StepRow(
        network=backbone.title,
        stage=stage,
        variant=name,
        batch_clips=scale.batch_clips,
        num_frames=scale.num_frames,
        size_pixels=scale.size_pixels,
        clips_per_second=scale.batch_clips / median([t.step_seconds for t in own]),
        ratio=median(ratios),
        memory_gb=max(t.memory_gb for t in own) or None,
        idle_share=median([t.idle_share for t in own]) if is_metered else None,
    )


def cka_note(backbone: Backbone, scale: StepScale, repeats: int) -> StepNote:
    """The time of a map of all convolutions, batch norms and ReLUs, over that of its parts."""
    bench = bench_cka(
        CkaScale(
            backbone=backbone,
            layers="act",
            num_clips=scale.batch_clips,
            num_frames=scale.num_frames,
            size_pixels=scale.size_pixels,
        ),
        progress=silent,
        repeats=min(repeats, 3),
    )
    of = f"{bench.overhead:.2f} of its forward passes and Gram products"
    return StepNote(note=f"{backbone.title}: a map of {bench.setup} takes {of}")


def fed_rows(scale: StepScale, *, seconds: float, repeats: int) -> Iterator[Row]:
    """Rows of all stages, also fed from shards and by the cache, as in bench step."""
    from kdbatch.bench.data.loose_videos import shard_videos  # noqa: PLC0415 - it needs PyAV
    from kdbatch.bench.step.measure import bench_step  # noqa: PLC0415
    from kdbatch.cli.bench import make_few_toys  # noqa: PLC0415

    with TemporaryDirectory() as name:
        folder = Path(name)
        stored = shard_videos(make_few_toys(folder / "toys"), folder, processes=0, progress=silent)
        yield from bench_step(
            scale,
            stored,
            progress=silent,
            repeats=repeats,
            seconds=row_seconds(repeats),
            limit_seconds=seconds,
        )


def parts_of(
    scale: StepScale, device: torch.device, seconds: float, repeats: int
) -> list[Callable[[], Iterator[Row]]]:
    """The parts of the table, in order, for `seconds` together."""

    def of_stage(backbone: Backbone, stage: str, share: float, *, compiled: bool) -> Iterator[Row]:
        deadline = time.monotonic() + share * seconds
        return step_rows(
            backbone,
            stage,
            scale,
            device,
            deadline=deadline,
            repeats=repeats,
            compiled=compiled,
        )

    parts: list[Callable[[], Iterator[Row]]] = []
    if "av" in MISSING or importlib.util.find_spec("pyarrow") is None:  # to store videos
        pairs = [(b, s) for s in ("finetune", "distill") for b in scale.backbones]
        parts += [lambda b=b, s=s: of_stage(b, s, 0.12, compiled=False) for b, s in pairs]
    else:
        parts.append(lambda: fed_rows(scale, seconds=0.5 * seconds, repeats=repeats))
    parts += [lambda b=b: iter([cka_note(b, scale, repeats)]) for b in scale.backbones]
    parts += [lambda b=b: of_stage(b, "finetune", 0.2, compiled=True) for b in scale.backbones]
    return parts


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the table of speeds on this machine.")
    parser.add_argument("--limit", type=float, default=220.0)
    parser.add_argument("--network", choices=KINDS)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    began, device = time.monotonic(), select_device()
    width, (clips, frames, pixels) = (0.0625, (4, 4, 32)) if options.tiny else (1.0, (64, 16, 112))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"
    say(f"torch {torch.__version__} on {device.type} ({name}), {clips} x {frames} x {pixels}^2")
    for package in MISSING:
        say(f"{package} is not installed; nothing here needs it")
    say(STEP_HEAD)
    if options.tiny:
        trial.BACKEND = "eager"  # a real compiler takes minutes on a CPU
    kinds = (options.network,) if options.network else KINDS
    scale = StepScale(
        backbones=tuple(Backbone(kind=kind, width=width) for kind in kinds),
        batch_clips=clips,
        num_frames=frames,
        size_pixels=pixels,
    )
    repeats = 1 if options.tiny else REPEATS
    for part in parts_of(scale, device, options.limit - 15, repeats):
        if time.monotonic() - began > options.limit - COMPILE_SECONDS:
            say("no time for the rest: raise --limit")
            break
        try:
            for row in part():
                say(step_line(row))
        except Exception as error:  # of one part, for whatever reason: the others are measured
            say(f"a part failed: {type(error).__name__}: {error}")
    say(f"measured in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
