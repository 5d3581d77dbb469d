"""Gradients of a batch, in micro-batches and in half precision, and the metric buffer."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from support.training import SCHEDULE, Net, deterministic_curves, run
from torch import nn

from kdbatch.base.errors import UserError
from kdbatch.run.data.batch import Batch
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.heartbeat import Stopped
from kdbatch.run.train.metric_buffer import MetricBuffer
from kdbatch.run.train.optim import compute_gradients, make_optimizer, micro_batch_slices, set_lr
from kdbatch.run.train.steps import StepOutput, distill_step, finetune_step
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import View

DATA = Subset(dataset="k400", split="train", num_places=8, num_classes=4, digest="x")


class Plain(Net):
    """Without batch statistics and dropout: a clip's output does not depend on other clips."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU())


@pytest.mark.parametrize(("num_videos", "num_parts"), [(4, 1), (4, 2), (7, 3), (3, 8), (1, 5)])
def test_micro_batches_hold_each_video_once_and_are_equal_to_within_one(
    num_videos: int, num_parts: int
) -> None:
    parts = micro_batch_slices(num_videos, num_parts)
    sizes = [part.stop - part.start for part in parts]
    assert [i for part in parts for i in range(num_videos)[part]] == list(range(num_videos))
    assert len(parts) == min(num_parts, num_videos) and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("num_parts", [2, 3, 4])
def test_micro_batches_train_to_the_same_weights_as_the_whole_batch(
    num_parts: int, tmp_path: Path
) -> None:
    schedule = dataclasses.replace(SCHEDULE, num_micro_batches=num_parts)
    state, trained = run(tmp_path / "whole", net=Plain)
    in_parts, other = run(tmp_path / "parts", net=Plain, schedule=schedule)
    assert all(torch.allclose(value, state[name], atol=1e-6) for name, value in in_parts.items())
    assert [m.value for m in deterministic_curves(other)] == pytest.approx(
        [m.value for m in deterministic_curves(trained)], rel=1e-4
    )


class Pooled(Net):
    """Its last map has one position, which batch normalisation sees."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv3d(3, 4, 1), nn.AdaptiveAvgPool3d(1), nn.BatchNorm3d(4)
        )


def test_a_part_of_one_clip_that_cannot_be_normalised_names_the_fields_to_change(
    tmp_path: Path,
) -> None:
    schedule = dataclasses.replace(SCHEDULE, num_micro_batches=4)
    with pytest.raises(UserError, match="one clip.*Raise batch_clips.*or lower its num_micro"):
        run(tmp_path, net=Pooled, schedule=schedule)


def test_training_in_micro_batches_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    schedule = dataclasses.replace(SCHEDULE, num_micro_batches=2)
    state, _ = run(tmp_path / "whole", schedule=schedule)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", schedule=schedule, stop_at=8)  # the last part of the fourth step
    resumed, _ = run(tmp_path / "stopped", schedule=schedule)
    assert all(torch.equal(value, state[name]) for name, value in resumed.items())


@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_compares_clips_of_a_batch_refuses_micro_batches(name: str) -> None:
    def pretrain(parts: int) -> Pretrain:
        schedule = Schedule(epochs=1, batch_clips=8, lr=0.1, num_micro_batches=parts)
        return Pretrain(
            task=TASKS[name].at_complexity(1),
            backbone=Backbone(kind="shufflenet_2x"),
            data=DATA,
            view=View(),
            schedule=schedule,
        )

    assert pretrain(1)
    if name in ("rotnet", "vcop", "prp"):
        assert pretrain(2)
    else:
        message = (
            "num_micro_batches: found 2, which would change what "
            f"{TASKS[name].title} learns from.*Write 1, and lower"
        )
        with pytest.raises(UserError, match=message):
            pretrain(2)


@pytest.mark.parametrize("parts", [0, 9])
def test_there_are_at_most_as_many_micro_batches_as_clips(parts: int) -> None:
    message = {
        0: "found 0. Write 1 to 1,000,000",
        9: "found 9 for batches of 8 clips. Write 1 to 8",
    }
    with pytest.raises(UserError, match=f"num_micro_batches: {message[parts]}"):
        Schedule(epochs=1, batch_clips=8, lr=0.1, num_micro_batches=parts)


def _numbers(loss: float, norm: float) -> dict[str, torch.Tensor]:
    return {
        "loss": torch.tensor(loss),
        "gradient_norm": torch.tensor(norm),
        "accuracy": torch.tensor(0.5),
    }


def test_a_metric_buffer_returns_every_row_once_in_order() -> None:
    metrics = MetricBuffer()
    for step in (1, 2, 3):
        metrics.append(step, _numbers(step / 2, 1.0), lr=0.1 * step, num_clips=8)
    assert len(metrics) == 3
    assert [(r.step, r.values["loss"], r.num_clips) for r in metrics.flush()] == [
        (1, 0.5, 8),
        (2, 1.0, 8),
        (3, 1.5, 8),
    ]
    assert len(metrics) == 0 and metrics.flush() == []


@pytest.mark.parametrize(
    ("loss", "norm", "text"),
    [(math.nan, 1.0, "the loss is nan"), (1.0, math.inf, "the norm of the gradient is inf")],
)
def test_the_error_names_the_first_step_that_is_not_finite(
    loss: float, norm: float, text: str
) -> None:
    metrics = MetricBuffer()
    metrics.append(16, _numbers(1.0, 1.0), lr=0.2, num_clips=8)
    metrics.append(17, _numbers(loss, norm), lr=0.25, num_clips=8)
    metrics.append(18, _numbers(math.nan, math.nan), lr=0.3, num_clips=8)
    message = f"step 17: {text} at lr 0.25. Nothing was saved from it. Lower lr"
    with pytest.raises(UserError, match=message):
        metrics.flush()


def test_a_gradient_that_is_not_finite_ends_the_run_and_is_never_saved(tmp_path: Path) -> None:
    class Steep(Plain):
        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            logit_BK = super().forward(clip)
            return logit_BK + (logit_BK * 0).sqrt()  # adds 0, with an infinite slope

    with pytest.raises(UserError, match="step 1: the norm of the gradient is nan"):
        run(tmp_path, net=Steep)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_head_has_its_own_lr_and_frozen_parameters_are_not_optimized() -> None:
    model = Net()
    model.get_parameter("backbone.0.bias").requires_grad_(False)
    optimizer = make_optimizer(model, dataclasses.replace(SCHEDULE, head_lr_factor=10.0))
    set_lr(optimizer, 0.5)
    assert [(len(g["params"]), g["lr"]) for g in optimizer.param_groups] == [(3, 0.5), (2, 5.0)]


def test_metrics_in_half_precision_are_averaged_in_single() -> None:
    model = nn.Linear(2, 2)

    def take_step(clip: torch.Tensor, batch: object) -> StepOutput:
        step = finetune_step(model, clip, torch.tensor([0, 1]))
        return StepOutput(loss=step.loss, report={"half": torch.tensor(1.5, dtype=torch.bfloat16)})

    batch = Batch(
        clips=[], augment_params=[], num_views=1, label_B=torch.tensor([0, 1]), keys=["a", "b"]
    )
    values = compute_gradients(
        model,
        take_step,
        (torch.randn(2, 2), batch),
        num_micro_batches=1,
        group=SINGLE_PROCESS,
        stop_requested=lambda: True,
    )
    names = ("loss", "half", "stop", "gradient_norm")
    assert {n: v.dtype for n, v in values.items()} == dict.fromkeys(names, torch.float32)
    assert float(values["stop"]) == 1 and float(values["half"]) == 1.5


@pytest.mark.parametrize("weighting", ["none", "equal", "ae-kd", "ca-mkd"])
def test_losses_are_in_single_precision_while_networks_run_in_half(weighting: str) -> None:
    """Autocast as on a GPU: logits have the 8 bits of bfloat16, softmax and loss must have more."""
    torch.manual_seed(0)
    student = nn.Linear(3, 5)
    teachers = [nn.Linear(3, 5), nn.Linear(3, 5)] if weighting != "none" else []
    clip, label = torch.randn(4, 3), torch.arange(4)
    recipe = Distill(
        backbone=Backbone(kind="shufflenet_2x"),
        data=DATA,
        view=View(),
        schedule=SCHEDULE,
        evaluation=Evaluation(test=DATA),
        weighting=weighting,  # pyright: ignore[reportArgumentType] (a name from the parameters)
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert student(clip).dtype is torch.bfloat16
        step = distill_step(student, teachers, clip, label, recipe=recipe)
        logit_BK = student(clip).float()
    assert step.loss.dtype is torch.float32
    hard = float(nn.functional.cross_entropy(logit_BK, label).detach())
    assert float(step.report["hard"].detach()) == pytest.approx(hard, abs=1e-6)
    assert all(value.dtype is torch.float32 for value in step.report.values())
