"""From a batch to gradients: in parts, in half precision; and the ledger of what they were."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from support.training import SCHEDULE, Net, deterministic_curves, run
from torch import nn

from kdbatch.base.errors import UserError
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.heartbeat import Stopped
from kdbatch.run.train.metric_buffer import MetricBuffer
from kdbatch.run.train.optim import compute_gradients, make_optimizer, micro_batch_slices, set_lr
from kdbatch.run.train.steps import StepOutput, distill_step, finetune_step
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes import Distill, Evaluation, Pretrain, Schedule
from kdbatch.vocab.shards import Subset
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import View

DATA = Subset(dataset="k400", split="train", num_places=8, num_classes=4, digest="x")


class Plain(Net):
    """Without batch statistics and dropout: what is left does not know of other clips."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv3d(3, 4, 1), nn.ReLU())


@pytest.mark.parametrize(("num_videos", "num_parts"), [(4, 1), (4, 2), (7, 3), (3, 8), (1, 5)])
def test_parts_are_all_videos_once_and_equal_to_within_one(num_videos: int, num_parts: int) -> None:
    parts = micro_batch_slices(num_videos, num_parts)
    sizes = [part.stop - part.start for part in parts]
    assert [i for part in parts for i in range(num_videos)[part]] == list(range(num_videos))
    assert len(parts) == min(num_parts, num_videos) and max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("num_parts", [2, 3, 4])
def test_a_batch_in_parts_teaches_what_the_batch_teaches(num_parts: int, tmp_path: Path) -> None:
    schedule = dataclasses.replace(SCHEDULE, num_micro_batches=num_parts)
    state, trained = run(tmp_path / "whole", net=Plain)
    in_parts, other = run(tmp_path / "parts", net=Plain, schedule=schedule)
    assert all(torch.allclose(value, state[name], atol=1e-6) for name, value in in_parts.items())
    assert [m.value for m in deterministic_curves(other)] == pytest.approx(
        [m.value for m in deterministic_curves(trained)], rel=1e-4
    )


def test_parts_are_resumed_bit_for_bit(tmp_path: Path) -> None:
    schedule = dataclasses.replace(SCHEDULE, num_micro_batches=2)
    state, _ = run(tmp_path / "whole", schedule=schedule)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", schedule=schedule, stop_at=8)  # the last part of the fourth step
    resumed, _ = run(tmp_path / "stopped", schedule=schedule)
    assert all(torch.equal(value, state[name]) for name, value in resumed.items())


@pytest.mark.parametrize("name", TASKS)
def test_a_task_that_compares_a_whole_batch_refuses_parts_of_it(name: str) -> None:
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
        with pytest.raises(
            UserError,
            match=f"num_micro_batches: found 2, which would change what {TASKS[name].title} learns from.*Write 1, and lower",
        ):
            pretrain(2)


@pytest.mark.parametrize("parts", [0, 9])
def test_as_many_parts_as_clips_at_most(parts: int) -> None:
    with pytest.raises(
        UserError, match=f"num_micro_batches: found {parts} for batches of 8 clips. Write 1 to 8"
    ):
        Schedule(epochs=1, batch_clips=8, lr=0.1, num_micro_batches=parts)


def _numbers(loss: float, norm: float) -> dict[str, torch.Tensor]:
    return {
        "loss": torch.tensor(loss),
        "gradient_norm": torch.tensor(norm),
        "accuracy": torch.tensor(0.5),
    }


def test_a_ledger_gives_every_row_once_in_order() -> None:
    ledger = MetricBuffer()
    for step in (1, 2, 3):
        ledger.append(step, _numbers(step / 2, 1.0), lr=0.1 * step, num_clips=8)
    assert len(ledger) == 3
    assert [(r.step, r.values["loss"], r.num_clips) for r in ledger.flush()] == [
        (1, 0.5, 8),
        (2, 1.0, 8),
        (3, 1.5, 8),
    ]
    assert len(ledger) == 0 and ledger.flush() == []


@pytest.mark.parametrize(
    ("loss", "norm", "what"),
    [(math.nan, 1.0, "the loss is nan"), (1.0, math.inf, "the norm of the gradient is inf")],
)
def test_the_first_step_that_is_not_finite_is_named_though_nobody_looked(
    loss: float, norm: float, what: str
) -> None:
    ledger = MetricBuffer()
    ledger.append(16, _numbers(1.0, 1.0), lr=0.2, num_clips=8)
    ledger.append(17, _numbers(loss, norm), lr=0.25, num_clips=8)
    ledger.append(18, _numbers(math.nan, math.nan), lr=0.3, num_clips=8)
    with pytest.raises(
        UserError, match=f"step 17: {what} at lr 0.25. Nothing was saved from it. Lower lr"
    ):
        ledger.flush()


def test_a_gradient_that_is_not_finite_ends_the_run_and_is_never_saved(tmp_path: Path) -> None:
    class Steep(Plain):
        def forward(self, clip: torch.Tensor) -> torch.Tensor:
            logit_BK = super().forward(clip)
            return logit_BK + (logit_BK * 0).sqrt()  # adds 0, with an infinite slope

    with pytest.raises(UserError, match="step 1: the norm of the gradient is nan"):
        run(tmp_path, net=Steep)
    assert not (tmp_path / "checkpoint.pt").exists()


def test_the_head_has_its_own_rate_and_what_is_frozen_has_none() -> None:
    model = Net()
    model.get_parameter("backbone.0.bias").requires_grad_(False)
    optimizer = make_optimizer(model, dataclasses.replace(SCHEDULE, head_lr_factor=10.0))
    set_lr(optimizer, 0.5)
    assert [(len(g["params"]), g["lr"]) for g in optimizer.param_groups] == [(3, 0.5), (2, 5.0)]


def test_what_is_reported_in_half_precision_is_kept_in_single() -> None:
    model = nn.Linear(2, 2)

    def take_step(clip: torch.Tensor, batch: object) -> StepOutput:
        step = finetune_step(model, clip, torch.tensor([0, 1]))
        return StepOutput(loss=step.loss, report={"half": torch.tensor(1.5, dtype=torch.bfloat16)})

    batch = type("B", (), {"keys": ["a", "b"]})()
    numbers = compute_gradients(
        model,
        take_step,
        (torch.randn(2, 2), batch),
        num_micro_batches=1,
        group=SINGLE_PROCESS,
        stop_requested=lambda: True,
    )  # type: ignore[arg-type]
    assert {n: v.dtype for n, v in numbers.items()} == dict.fromkeys(
        ("loss", "half", "stop", "gradient_norm"), torch.float32
    )
    assert float(numbers["stop"]) == 1 and float(numbers["half"]) == 1.5


@pytest.mark.parametrize("weighting", ["none", "equal", "ae-kd", "ca-mkd"])
def test_losses_are_in_single_precision_though_networks_run_in_half(weighting: str) -> None:
    """Autocast as on a GPU; a logit of bfloat16 has 8 bits, and its softmax and loss must not."""
    torch.manual_seed(0)
    student, teachers = (
        nn.Linear(3, 5),
        [nn.Linear(3, 5), nn.Linear(3, 5)] if weighting != "none" else [],
    )
    clip, label = torch.randn(4, 3), torch.arange(4)
    recipe = Distill(
        backbone=Backbone(kind="shufflenet_2x"),
        data=DATA,
        view=View(),
        schedule=SCHEDULE,
        evaluation=Evaluation(test=DATA),
        weighting=weighting,  # type: ignore[arg-type]
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert student(clip).dtype is torch.bfloat16
        step = distill_step(student, teachers, clip, label, recipe=recipe)
        logit_BK = student(clip).float()
    assert step.loss.dtype is torch.float32
    assert float(step.report["hard"].detach()) == pytest.approx(
        float(nn.functional.cross_entropy(logit_BK, label).detach()), abs=1e-6
    )
    assert all(value.dtype is torch.float32 for value in step.report.values())
