"""The commands of `kdbatch bench`, one function each.

Mistakes are reported before torch is imported, which takes seconds.
"""

import os
import time
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from kdbatch.base.command_lines import bench_data_command
from kdbatch.base.lookup import lookup
from kdbatch.base.progress import silent
from kdbatch.base.study_folder import expand_home
from kdbatch.base.temporary.temporary_folder import temporary_folder
from kdbatch.bench.cka.scale import CkaScale
from kdbatch.bench.step.scale import BENCH_STAGES, StepScale
from kdbatch.cli.live.progress import progress
from kdbatch.cli.terminal import print_line, print_text, warn
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone

_END_SECONDS = 8.0  # what starting Python takes, and the last step of a row


def measure_data(videos: str, *, seconds: float, json: bool) -> None:
    """`kdbatch bench data`."""
    from kdbatch.bench.data.fidelity import fidelity_lines, measure_fidelity

    # PyAV, which a login node may lack.
    from kdbatch.bench.data.loose_videos import find_videos_below, shard_videos
    from kdbatch.bench.data.transcode_speed import relative_transcode_speed

    named = find_videos_below(expand_home(videos)) if videos else []
    from kdbatch.bench.data.measure import bench_data  # torch
    from kdbatch.bench.data.rows import DerivedNumber, data_as_json, data_as_lines

    with temporary_folder("bench") as folder:
        originals = named or make_few_toys(folder / "toys")
        if not videos:
            warn(
                "measuring on toys, whose ratios mean little. Name a folder of real videos: "
                + bench_data_command(videos="FOLDER")
            )
        with nullcontext(silent) if json else progress("bench data") as report:
            stored = shard_videos(originals, folder, processes=0, progress=report)
            fidelity = [
                measure_fidelity(path, tar, sample)
                for path, (tar, sample) in zip(originals, stored, strict=True)
            ]
            speed = relative_transcode_speed(originals, progress=report)
            bench = bench_data(originals, stored, folder=folder, seconds=seconds, progress=report)
    sharding = DerivedNumber(
        key="sharding", title="sharding, share of FFmpeg's speed", value=speed, goal="at least 0.8"
    )
    bench = replace(bench, figures=(*bench.figures, sharding))
    if json:
        print_text(data_as_json(bench, stored=[vars(f) for f in fidelity]))
        return
    for line in [*data_as_lines(bench), *fidelity_lines(fidelity)]:
        print_line(line)


def measure_cka(
    backbone: str, *, width: float, layers: str, clips: int, frames: int, pixels: int, json: bool
) -> None:
    """`kdbatch bench cka`."""
    scale = CkaScale(
        backbone=parse_backbone(backbone, width),
        layers=layers,
        num_clips=clips,
        num_frames=frames,
        size_pixels=pixels,
    )
    from kdbatch.bench.cka.measure import bench_cka, cka_as_json, cka_as_lines  # torch

    with nullcontext(silent) if json else progress("bench cka") as report:
        bench = bench_cka(scale, progress=report)
    if json:
        print_text(cka_as_json(bench))
        return
    for line in cka_as_lines(bench):
        print_line(line)


def measure_step(
    backbone: str,
    stage: str,
    *,
    width: float,
    shape: tuple[int, int, int],
    seconds: float,
    limit: float,
    compiled: bool,
    json: bool,
) -> None:
    """`kdbatch bench step`; `shape` is clips of a batch, frames, pixels."""
    began = time.monotonic()
    kinds = [backbone] if backbone else ["r21d_10", "shufflenet_2x"]
    stages = BENCH_STAGES
    if stage:
        stages = (lookup({name: name for name in BENCH_STAGES}, stage, where="--stage"),)
    scale = StepScale(
        backbones=tuple(parse_backbone(kind, width) for kind in kinds),
        stages=stages,
        batch_clips=shape[0],
        num_frames=shape[1],
        size_pixels=shape[2],
    )
    from kdbatch.bench.data.loose_videos import shard_videos  # PyAV
    from kdbatch.bench.step.measure import bench_step  # torch
    from kdbatch.bench.step.rows import STEP_HEAD, step_json_line, step_line
    from kdbatch.run.compilation.cache import choose_compile_cache

    choose_compile_cache(os.environ)
    with (
        temporary_folder("bench") as folder,
        nullcontext(silent) if json else progress("bench step") as report,
    ):
        stored = shard_videos(make_few_toys(folder / "toys"), folder, processes=0, progress=silent)
        outputs = bench_step(
            scale,
            stored,
            progress=report,
            seconds=seconds,
            limit_seconds=limit - (time.monotonic() - began) - _END_SECONDS,
            compiled=compiled,
        )
        for number, output in enumerate(outputs):
            print_line(step_json_line(output) if json else step_line(output))
            if number == 0 and not json:
                print_line(STEP_HEAD)


def parse_backbone(backbone: str, width: float) -> Backbone:
    """The backbone named on the command line."""
    lookup(BACKBONE_SPECS, backbone, where="--backbone")
    return Backbone(kind=backbone, width=width)


def make_few_toys(folder: Path) -> list[Path]:
    """Make a few small videos, for a user who has named none."""
    from kdbatch.bench.data.loose_videos import find_videos_below  # PyAV
    from kdbatch.shard.toy.size import ToySize
    from kdbatch.shard.toy.write import write_toy

    size = ToySize(
        k400_train=1,
        k400_val=0,
        ssv2_train=1,
        ucf101_clips_per_group=1,
        hmdb51_train=1,
        hmdb51_unused=0,
        num_motions=1,
    )
    write_toy(folder, processes=0, progress=silent, size=size)
    return find_videos_below(folder / "k400")
