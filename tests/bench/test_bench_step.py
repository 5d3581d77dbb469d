import dataclasses
import inspect
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tasks import batch_of
from torch import nn

from kdbatch.base.progress import silent
from kdbatch.bench.data.loose_videos import find_videos_below, shard_videos
from kdbatch.bench.step.least import affordable_scale, multiply_adds
from kdbatch.bench.step.measure import (
    BASELINE_LOOP,
    COMPILED,
    FROM_CACHE,
    FROM_SHARDS,
    BenchOutput,
    _Bench,
    bench_step,
)
from kdbatch.bench.step.rows import (
    STEP_HEAD,
    StepNote,
    StepOverhead,
    StepRow,
    step_json_line,
    step_line,
)
from kdbatch.bench.step.scale import StepScale
from kdbatch.bench.step.timing import StepVariant, time_all, time_variant, warm_up
from kdbatch.bench.step.variants import make_training_setup
from kdbatch.cli.commands import Commands
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.shards.index import Sample

CPU = torch.device("cpu")
SIZE = ToySize(
    k400_train=1,
    k400_val=0,
    ssv2_train=1,
    ucf101_clips_per_group=1,
    hmdb51_train=1,
    hmdb51_unused=0,
    num_motions=1,
    min_frames=36,
    max_frames=40,
    extra_frames=0,
)
SCALE = StepScale(
    backbones=(Backbone(kind="shufflenet_2x", width=0.0625),),
    stages=("distill",),
    batch_clips=4,
    num_frames=4,
    size_pixels=32,
)


Stored = list[tuple[Path, Sample]]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    folder = tmp_path_factory.mktemp("bench")
    write_toy(folder / "toys", processes=1, progress=silent, size=SIZE)
    return shard_videos(
        find_videos_below(folder / "toys" / "k400"), folder, processes=1, progress=silent
    )


def rows_of(outputs: list[BenchOutput]) -> list[StepRow]:
    return [output for output in outputs if isinstance(output, StepRow)]


def test_every_variant_of_a_stage_is_measured(stored: Stored) -> None:
    outputs = list(bench_step(SCALE, stored, progress=silent, repeats=1, limit_seconds=600))
    rows = rows_of(outputs)
    names = [BASELINE_LOOP, "kdbatch", FROM_SHARDS, FROM_CACHE, "usual loop, autocast"]
    assert [(row.stage, row.variant) for row in rows] == [("distill", name) for name in names]
    for row in rows:
        assert row.clips_per_second > 0 and row.ratio > 0 and row.batch_clips == SCALE.batch_clips
        assert row.peak_share is not None and 0 < row.peak_share < 100
        assert (row.idle_share is not None) == ("loop" not in row.variant)
    assert rows[0].ratio == 1.0
    # On a CPU the process that trains reads: a fed step has less of the time.
    own, fed = rows[1].idle_share, rows[2].idle_share
    assert own is not None and fed is not None and own < fed
    (overhead,) = [output for output in outputs if isinstance(output, StepOverhead)]
    assert 0.2 < overhead.overhead < 5


def test_rows_come_one_by_one_and_are_lines_of_json(stored: Stored) -> None:
    scale = dataclasses.replace(SCALE, stages=("finetune", "distill"))
    outputs = bench_step(scale, stored, progress=silent, repeats=1, limit_seconds=600)
    first = json.loads(step_json_line(next(outputs)))
    assert "on cpu" in first["note"]
    row = json.loads(step_json_line(next(outputs)))  # nothing of `distill` has run yet
    assert (row["stage"], row["variant"]) == ("finetune", BASELINE_LOOP)
    outputs.close()  # pyright: ignore[reportAttributeAccessIssue]  # it is a generator


def test_a_slow_device_takes_smaller_batches_and_has_a_row_of_each_stage_in_time(
    stored: Stored,
) -> None:
    """64 clips take this network about half a second a pass here, and the limit allows less. The
    time that is tested is generous: the tests share their cores.
    """
    scale = dataclasses.replace(SCALE, stages=("finetune", "pretrain"), batch_clips=64)
    began = time.monotonic()
    outputs = list(bench_step(scale, stored, progress=silent, seconds=5.0, limit_seconds=6.0))
    assert time.monotonic() - began < 40  # without limits 2 stages x 5 rows x 5 repeats x 5 seconds
    rows = rows_of(outputs)
    notes = [output.note for output in outputs if isinstance(output, StepNote)]
    assert all(1 <= row.batch_clips <= 64 for row in rows)
    for stage in scale.stages:
        left_out = [note for note in notes if f", {stage}: no time" in note]
        assert len(left_out) == (sum(row.stage == stage for row in rows) < 5)
        assert all(f"--stage {stage}" in note for note in left_out)


def scale_within(seconds: float, *, per_unit: float) -> tuple[StepScale, float]:
    """The scale that a machine takes whose steps last `per_unit` for each clip of 4x32x32."""
    whole = dataclasses.replace(SCALE, batch_clips=8, num_frames=16, size_pixels=112)
    return affordable_scale(
        "finetune",
        whole,
        num_rows=5,
        deadline=time.monotonic() + seconds,
        seconds_of=lambda s: per_unit * s.batch_clips * s.num_frames * s.size_pixels**2 / 4096,
    )


@pytest.mark.parametrize(
    ("per_unit", "shape"),
    [(9.0, (2, 4, 32)), (0.5, (2, 8, 56)), (0.1, (1, 16, 112)), (1e-3, (8, 16, 112))],
)
def test_clips_are_smaller_on_a_slower_machine_and_then_fewer(
    per_unit: float, shape: tuple[int, int, int]
) -> None:
    scale, seconds = scale_within(100.0, per_unit=per_unit)
    assert (scale.batch_clips, scale.num_frames, scale.size_pixels) == shape
    assert seconds == pytest.approx(49 * per_unit)  # of one whole clip, whatever was measured


def test_without_any_time_all_rows_are_left_out_by_name(stored: Stored) -> None:
    scale = dataclasses.replace(SCALE, stages=("finetune", "pretrain"))
    outputs = list(bench_step(scale, stored, progress=silent, limit_seconds=0.0))
    notes = [step_line(output) for output in outputs[1:]]
    assert len(notes) == 2 and all("no time for all rows" in note for note in notes)
    assert notes[0].endswith("kdbatch bench step --backbone shufflenet_2x --stage finetune")


def test_rows_that_need_more_than_the_usual_time_name_the_limit_that_they_need(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 20 s here, so that one row is measured, and no other."""
    scale = dataclasses.replace(SCALE, stages=("finetune",))
    slow = "kdbatch.bench.step.measure.affordable_scale"
    monkeypatch.setattr(slow, lambda stage, scale, **_: (scale, 20.0))
    monkeypatch.setattr("kdbatch.bench.step.measure.warm_up", slowed_warm_up)
    monkeypatch.setattr("kdbatch.bench.step.measure.peak_multiply_adds", lambda device: 1e9)
    outputs = list(bench_step(scale, stored, progress=silent, limit_seconds=3.0))
    assert [row.variant for row in rows_of(outputs)] == [BASELINE_LOOP]
    assert step_line(outputs[-1]).endswith("--stage finetune --limit 420")


def slowed_warm_up(*args: Any, **settings: Any) -> StepVariant:
    time.sleep(1.5)
    return warm_up(*args, **settings)


def test_a_network_of_forty_times_the_multiply_adds_has_two_thirds_of_the_time(
    stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, float] = {}

    def measure(stage: str, backbone: Backbone, bench: _Bench) -> Iterator[BenchOutput]:
        given[backbone.kind] = bench.deadline - time.monotonic()
        yield StepNote(note="")

    monkeypatch.setattr("kdbatch.bench.step.measure._bench_pair", measure)
    both = (Backbone(kind="r21d_10"), Backbone(kind="shufflenet_2x"))
    scale = dataclasses.replace(SCALE, backbones=both, stages=("finetune",))
    list(bench_step(scale, stored, progress=silent, limit_seconds=100.0))
    # Nothing was used of the first share, so the second network has all that is left.
    assert given["shufflenet_2x"] < 100 and 0.6 < given["r21d_10"] / given["shufflenet_2x"] < 0.8


def test_repeats_end_at_the_deadline_but_each_variant_is_timed() -> None:
    counts = {"a": 0, "b": 0}

    def step(name: str) -> None:
        counts[name] += 1
        time.sleep(0.02)

    variants = [
        StepVariant(name=name, step=lambda n=name: step(n), kept_bytes=0) for name in counts
    ]
    timings = time_all(
        variants, repeats=50, seconds=9.0, deadline=time.monotonic() + 0.3, device=CPU
    )
    assert 1 <= len(timings["a"]) == len(timings["b"]) < 20 and min(counts.values()) >= 1
    assert time_all(variants, repeats=5, seconds=9.0, deadline=0.0, device=CPU)["b"]


def test_compiled_rows_stand_apart(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling itself is tested in tests/run/compilation/, in processes of their own."""
    compiled: list[nn.Module] = []
    monkeypatch.setattr(
        "kdbatch.bench.step.variants.compile_networks",
        lambda networks, **_: compiled.extend(networks),
    )
    scale = dataclasses.replace(SCALE, stages=("finetune",))
    outputs = bench_step(
        scale, stored, progress=silent, repeats=1, limit_seconds=600, compiled=True
    )
    assert [row.variant for row in rows_of(list(outputs))] == [BASELINE_LOOP, "kdbatch", COMPILED]
    assert len(compiled) == 1


def test_its_help_names_every_network() -> None:
    text = inspect.getdoc(Commands.bench_step) or ""
    assert [kind for kind in BACKBONE_SPECS if not re.search(rf"\b{kind}\b", text)] == []


def test_lines_show_what_was_not_measured() -> None:
    row = StepRow(
        network="R(2+1)D",
        stage="finetune",
        variant="kdbatch",
        batch_clips=8,
        num_frames=16,
        size_pixels=112,
        clips_per_second=3.25,
        ratio=1.5,
        peak_share=40.0,
    )
    line = step_line(row)
    shown = ["R(2+1)D", "finetune", "kdbatch", "8", "3.25", "1.50x", "40.0%", "-", "-"]
    assert line.split() == shown and len(line) == len(STEP_HEAD) < 80
    assert step_line(StepNote(note="here")) == "here"
    overhead = StepOverhead(network="R(2+1)D", overhead=1.05)
    assert step_line(overhead) == (
        "R(2+1)D: a distillation step takes 1.050 times its parts measured apart"
    )


def test_the_memory_of_a_variant_excludes_that_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a fake GPU that only counts bytes: 7 are allocated before, a variant keeps some and takes
    more during a step.
    """
    held = {"now": 7, "peak": 7}

    def make(keeps: int, takes: int) -> Callable[[], None]:
        held["now"] += keeps
        return lambda: held.update(peak=max(held["peak"], held["now"] + takes))

    counters = {
        "memory_allocated": lambda device: held["now"],
        "max_memory_allocated": lambda device: held["peak"],
    }
    counters |= {
        "synchronize": lambda device: None,
        "reset_peak_memory_stats": lambda device: held.update(peak=held["now"]),
    }
    for name, counter in counters.items():
        monkeypatch.setattr(torch.cuda, name, counter)
    gpu = torch.device("cuda")
    variants = [
        warm_up(str(keeps), lambda k=keeps, t=takes: make(k, t), device=gpu)
        for keeps, takes in ((100, 50), (1000, 3))
    ]
    assert [
        round(time_variant(variant, seconds=0.0, device=gpu).memory_gb * 1e9)
        for variant in (*variants, *variants)
    ] == [
        150,
        1003,
        150,
        1003,
    ]


@pytest.mark.parametrize("stage", ["finetune", "distill", "pretrain"])
def test_the_usual_loop_trains_the_same_network_in_the_default_memory_format(stage: str) -> None:
    setup, plain = (
        make_training_setup(
            stage, SCALE.backbones[0], scale=SCALE, device=torch.device("cpu"), plain=p
        )
        for p in (False, True)
    )
    for (name, own), other in zip(
        setup.model.state_dict().items(), plain.model.state_dict().values(), strict=True
    ):
        assert torch.equal(own, other) and other.is_contiguous(), name
    assert any(not p.is_contiguous() for p in setup.model.parameters()) and len(setup.teachers) == (
        2 if stage == "distill" else 0
    )


@pytest.mark.parametrize(("stage", "passes"), [("finetune", 3), ("distill", 5)])
@pytest.mark.parametrize(("kind", "gmacs"), [("r21d_10", 21.362), ("shufflenet_2x", 0.5133)])
def test_multiply_adds_are_those_of_the_forward_passes_and_twice_the_one_with_a_gradient(
    stage: str, passes: int, kind: str, gmacs: float
) -> None:
    """Teachers have none. Counted without computing: on the meta device."""
    meta = torch.device("meta")
    batch = batch_of(range(2))
    batch = dataclasses.replace(batch, label_B=batch.label_B.long().to(meta))
    with meta:
        setup = make_training_setup(stage, Backbone(kind=kind), scale=SCALE, device=meta)  # type: ignore[arg-type]
        found = multiply_adds(setup, (torch.zeros(1, 2, 3, 16, 112, 112), batch))
    assert found / 2e9 == pytest.approx(passes * gmacs, rel=2e-3)
