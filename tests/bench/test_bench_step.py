import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from support.tasks import batch_of

from kdbatch.base.progress import silent
from kdbatch.bench.data.loose_videos import find_videos_below, shard_videos
from kdbatch.bench.step.measure import (
    BASELINE_LOOP,
    bench_step,
    multiply_adds,
    time_variant,
    warm_up,
)
from kdbatch.bench.step.rows import StepBench, StepRow, step_as_json, step_as_lines
from kdbatch.bench.step.scale import StepScale
from kdbatch.bench.step.variants import make_training_setup
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.backbones import Backbone

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


def test_every_variant_of_every_stage_is_measured(tmp_path: Path) -> None:
    write_toy(tmp_path / "toys", processes=1, progress=silent, size=SIZE)
    stored = shard_videos(
        find_videos_below(tmp_path / "toys" / "k400"), tmp_path, processes=1, progress=silent
    )
    bench = bench_step(SCALE, stored, progress=silent, repeats=1)
    variants = [(row.stage, row.variant) for row in bench.rows]
    assert variants == [
        (s, w)
        for s in SCALE.stages
        for w in (BASELINE_LOOP, "usual loop, autocast", "kdbatch", "kdbatch, fed by cache")
    ]
    for row in bench.rows:
        assert (
            row.clips_per_second > 0
            and row.ratio > 0
            and row.peak_share is not None
            and 0 < row.peak_share < 100
        )
        assert (row.idle_share is not None) == row.variant.startswith("kdbatch")
    assert [row.ratio for row in bench.rows if row.variant == BASELINE_LOOP] == [1.0]
    assert 0.2 < bench.overheads["shufflenet_2x"] < 5
    assert [row["variant"] for row in json.loads(step_as_json(bench))["rows"]] == [
        w for _, w in variants
    ]


def test_the_table_shows_what_was_not_measured() -> None:
    row = StepRow(
        network="R(2+1)D",
        stage="finetune",
        variant="kdbatch",
        clips_per_second=3.25,
        ratio=1.5,
        peak_share=40.0,
    )
    lines = step_as_lines(StepBench(setup="here", rows=(row,), overheads={"r21d_10": 1.05}))
    assert lines[0] == "here" and lines[2].split() == [
        "R(2+1)D",
        "finetune",
        "kdbatch",
        "3.25",
        "1.50x",
        "40.0%",
        "-",
        "-",
    ]
    assert lines[3] == "r21d_10: a distillation step takes 1.050 times its parts measured apart"


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
