"""Prints the table of speeds on this machine's GPU: python tests/gpu/measure.py

Options: --limit=SECONDS (default 220), and --tiny for a try on a CPU. It needs torch and the host
part of kdbatch. Batches come from memory, as PyAV may be missing: `kdbatch bench step` has the rows
that are fed from shards. Columns: clips/s, ratio to the usual loop in float32 in the same turn,
memory, idle share.
"""

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import repeat
from pathlib import Path
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
from kdbatch.run.cka.cka import compute_cka  # noqa: E402
from kdbatch.run.data.prefetch import DeviceBatch  # noqa: E402
from kdbatch.run.device import select_device  # noqa: E402
from kdbatch.run.meters.idle_meter import IdleMeter, device_clock  # noqa: E402
from kdbatch.run.models import build_backbone  # noqa: E402
from kdbatch.vocab.backbones import Backbone  # noqa: E402

BASE, OURS, FED, COMPILED = "usual loop, float32", "kdbatch", "fed from memory", "compiled"
STUDENT, TEACHERS = "student", "teachers"
COMPILE_SECONDS = 40.0  # what compiling a network takes at most, on machines that were measured
Step = Callable[[], None]
Row = StepRow | StepNote | StepOverhead


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

    def ours(
        name: str, source: Iterator[DeviceBatch], *, own: str = stage, is_compiled: bool = False
    ) -> Step:
        setup = make_training_setup(own, backbone, scale=scale, device=device)
        meters[name] = IdleMeter(device_clock(device))
        return kdbatch_loop(setup, source, meter=meters[name], compiled=is_compiled)

    def usual(*, autocast: bool) -> Step:
        setup = make_training_setup(stage, backbone, scale=scale, device=device, plain=True)
        return baseline_loop(setup, batch, autocast=autocast)

    def teachers() -> Step:
        return teachers_forward(
            make_training_setup(stage, backbone, scale=scale, device=device), batch
        )

    makers: dict[str, Callable[[], Step]] = {
        BASE: lambda: usual(autocast=False),
        "usual loop, autocast": lambda: usual(autocast=True),
        OURS: lambda: ours(OURS, repeat(batch)),
        FED: lambda: ours(FED, batches),
    }
    if compiled:
        makers[COMPILED] = lambda: ours(COMPILED, repeat(batch), is_compiled=True)
    if stage == "distill":
        makers[STUDENT] = lambda: ours(STUDENT, repeat(batch), own="finetune")
        makers[TEACHERS] = teachers
    return makers


def step_rows(
    backbone: Backbone, stage: str, scale: StepScale, device: torch.device, *, deadline: float
) -> Iterator[Row]:
    """Rows of one stage; a compiled one only of fine-tuning on a GPU, and where there is time."""
    has_time = deadline - time.monotonic() > COMPILE_SECONDS
    compiled = device.type == "cuda" and stage == "finetune" and has_time
    meters: dict[str, IdleMeter] = {}
    makers = makers_of(backbone, stage, scale, device, meters, compiled=compiled)
    warm = [warm_up(name, make, device=device) for name, make in makers.items()]
    variants = [replace(variant, meter=meters.get(variant.name)) for variant in warm]
    timings = time_all(variants, repeats=5, seconds=0.4, deadline=deadline, device=device)
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
        clips_per_second=scale.batch_clips / median([t.step_seconds for t in own]),
        ratio=median(ratios),
        memory_gb=max(t.memory_gb for t in own) or None,
        idle_share=median([t.idle_share for t in own]) if is_metered else None,
    )


def cka_note(backbone: Backbone, scale: StepScale, device: torch.device) -> StepNote:
    """The time of a map of a network with itself, and that of its forward pass."""
    model = build_backbone(backbone).to(device).eval()
    clip_BCTHW = next(full_batches(scale, device))[0][0]

    def seconds_of(work: Callable[[], object]) -> float:
        taken = []
        for _ in range(4):
            began = time.perf_counter()
            work()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            taken.append(time.perf_counter() - began)
        return min(taken[1:])

    with torch.no_grad():
        forward = seconds_of(lambda: model(clip_BCTHW))
    whole = seconds_of(lambda: compute_cka(model, None, [clip_BCTHW], layers="res"))
    return StepNote(
        note=f"{backbone.title}: a map of layers `res` takes {whole:.3f} s, a forward pass in "
        f"float32 {forward:.3f} s"
    )


def say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a script


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the table of speeds on this machine.")
    parser.add_argument("--limit", type=float, default=220.0)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    began, device = time.monotonic(), select_device()
    width, (clips, frames, pixels) = (0.0625, (4, 4, 32)) if options.tiny else (1.0, (64, 16, 112))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread"
    say(f"torch {torch.__version__} on {device.type} ({name}), {clips} x {frames} x {pixels}^2")
    for package in MISSING:
        say(f"{package} is not installed; nothing here needs it")
    say(STEP_HEAD)
    kinds = ("r21d_10", "shufflenet_2x")
    pairs = [(Backbone(kind=k, width=width), s) for s in ("finetune", "distill") for k in kinds]
    for number, (backbone, stage) in enumerate(pairs):
        scale = StepScale(
            backbones=(backbone,), batch_clips=clips, num_frames=frames, size_pixels=pixels
        )
        now = time.monotonic()
        deadline = now + (began + options.limit - 15 - now) / (len(pairs) - number)
        for row in step_rows(backbone, stage, scale, device, deadline=deadline):
            say(step_line(row))
        if stage == "distill":
            say(step_line(cka_note(backbone, scale, device)))
    say(f"measured in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
