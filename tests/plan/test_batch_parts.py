"""A plan refuses batches of too few clips for GPUs, statistics or losses."""

from pathlib import Path
from typing import Any

import pytest
import torch

from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.run.models import build_backbone
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.plans.plan import Plan

PROFILE = """\
seeds: [0]
clip: {num_frames: 16, size_pixels: PIXELS}
pretrain: {epochs: 1, batch_clips: PRETRAIN}
finetune: {epochs: 1, batch_clips: 64, lr: 0.02}
distill: {epochs: 1, batch_clips: DISTILL, lr: 0.02, num_micro_batches: PARTS}
"""
EXPERIMENT = """\
name: mine
title: Mine
vary: {target: [ucf101]}
teachers:
  T1:
    title: T1
    backbone: shufflenet_2x
    target: $target
    pretrain: {task: cvrl, dataset: k400, subset: all}
student: {title: Student, backbone: shufflenet_2x, target: $target, teachers: [T1], loss: LOSS}
"""


def plan(
    folder: Path,
    *,
    pretrain: int = 64,
    distill: int = 64,
    parts: int = 1,
    pixels: int = 64,
    loss: str = "kl",
    gpus: int = 1,
) -> Plan:
    texts = {"PRETRAIN": pretrain, "DISTILL": distill, "PARTS": parts, "PIXELS": pixels}
    profile = PROFILE
    for name, value in texts.items():
        profile = profile.replace(name, str(value))
    (folder / "profiles").mkdir(exist_ok=True)
    (folder / "profiles" / "small.yaml").write_text(profile)
    (folder / "mine.yaml").write_text(EXPERIMENT.replace("LOSS", loss))
    config = Config(resources={"distill": Resources(gpus=gpus)})
    return make_plan([Path("mine.yaml")], profile="small", config=config)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"distill": 1, "pixels": 32},
            " of 9,537 videos: a part of a batch has one.* Write 4 or more",
        ),
        ({"distill": 2, "pixels": 32}, " of 9,537 videos"),  # an odd number: one is alone
        ({"distill": 64, "parts": 64, "pixels": 32}, "in 64 parts: .*last map of ShuffleNet"),
        ({"distill": 8, "gpus": 8, "pixels": 32}, "for 8 GPUs: .* Write 32 or more"),
        ({"distill": 4, "gpus": 8}, "for 8 GPUs .*: a GPU would have no clip. Write at least 8"),
        ({"distill": 1, "loss": "dist"}, "and loss: dist compares the videos of a batch"),
        ({"pretrain": 1}, "and CVRL compares the videos of a batch. Write 2 or more"),
    ],
)
def test_a_batch_that_cannot_be_trained_on_is_found(
    in_tmp: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(UserError, match=rf"^mine\.yaml: .*batch_clips: found \d.*{words}"):
        plan(in_tmp, **changes)


@pytest.mark.parametrize(
    "changes", [{"distill": 1}, {"distill": 64, "gpus": 64}, {"distill": 4, "pixels": 32}]
)
def test_a_clip_of_several_positions_is_a_batch(in_tmp: Path, changes: dict[str, Any]) -> None:
    assert plan(in_tmp, **changes).runs


@pytest.mark.parametrize("kind", BACKBONE_SPECS.built_in)
def test_the_position_of_a_network_is_what_it_normalises(kind: str) -> None:
    network = build_backbone(Backbone(kind=kind, width=0.0625)).train()
    frames, pixels = BACKBONE_SPECS[kind].position
    if frames:
        with pytest.raises(ValueError, match="more than 1 value per channel"):
            network(torch.rand(1, 3, frames, pixels, pixels))
    frames, pixels = frames or 8, pixels or 16
    assert network(torch.rand(1, 3, 2 * frames, 2 * pixels, 2 * pixels)).isfinite().all()
