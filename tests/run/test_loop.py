"""The loop itself, on a network of a few weights: stopped and resumed anywhere, it is the run that was never stopped."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from kdbatch.result.write import Measure
from kdbatch.run.augment import Draw
from kdbatch.run.data import Batch
from kdbatch.run.loop import Trained, Worker, train
from kdbatch.run.pulse import Pulse, StopFlag, Stopped
from kdbatch.run.step import Step, finetune_step
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.recipes import Schedule
from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.status import load_status
from kdbatch.vocab.views import View

SCHEDULE = Schedule(epochs=3, batch_clips=4, lr=0.1, warmup_epochs=1.0, head_lr_factor=2.0)
TOTAL = 9


class Noise:
    """Nine batches of random clips, each a pure function of its step."""

    steps_per_epoch = 3
    view = View(size_pixels=8)

    def __getitem__(self, step: int) -> Batch:
        made = torch.Generator().manual_seed(step)
        clips = [torch.randint(0, 256, (2, 8, 8, 3), generator=made, dtype=torch.uint8) for _ in range(4)]
        draws = [Draw((0, 0, 8, 8), False, False)] * 4
        return Batch(clips=clips, draws=draws, num_views=1, label_B=torch.arange(4) % 3, keys=list("abcd"))


class Net(nn.Module):
    """Batch statistics, dropout and momentum: everything that a resumed run could forget."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout(0.5))
        self.fc = nn.Linear(4, 3)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(clip).mean((2, 3, 4)))


class Watcher:
    """Keeps the highest sum of weights that an epoch ended with."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.epochs, self.best = model, list[int](), torch.tensor(-math.inf)

    def look(self, epoch: int) -> dict[str, float]:
        self.model.eval()
        self.epochs.append(epoch)
        self.best = torch.maximum(self.best, sum((p.detach().sum() for p in self.model.parameters()), torch.tensor(0.0)))
        return {"best": float(self.best)}

    def memory(self) -> dict[str, Any]:
        return {"epochs": list(self.epochs), "best": self.best}

    def remember(self, memory: dict[str, Any]) -> None:
        self.epochs, self.best = memory["epochs"], memory["best"]


def _run(
    folder: Path, *, stop_at: int | None = None, poison_at: int | None = None, watched: bool = False
) -> tuple[dict[str, torch.Tensor], Trained]:
    torch.manual_seed(7)
    model, stop, steps = Net(), StopFlag(), 0
    watcher = Watcher(model) if watched else None
    with Pulse(RunFolder(folder), device="cpu", stop=stop) as pulse:
        worker = Worker(folder=RunFolder(folder), pulse=pulse, device=torch.device("cpu"), num_workers=0, decoder="pyav")

        def take_step(clip_VBCTHW: torch.Tensor, batch: Batch) -> Step:
            nonlocal steps
            steps += 1
            stop.asked = steps == stop_at
            step = finetune_step(model, clip_VBCTHW[0], batch.label_B)
            return Step(loss=step.loss * float("nan"), report={}) if steps == poison_at else step

        trained = train(model, take_step, source=Noise(), schedule=SCHEDULE, seed=0, worker=worker, after_epoch=watcher)  # type: ignore[arg-type]
    assert watcher is None or watcher.epochs == [1, 2, 3]
    return model.state_dict(), trained


def _learnt(trained: Trained) -> list[Measure]:
    """The curves that do not tell the time."""
    return [m for m in trained.curves if m.name != "data_wait_share"]


def test_stopped_at_any_step_and_resumed_it_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    state, trained = _run(tmp_path / "whole")
    assert {m.name for m in trained.curves} == {"loss", "accuracy", "gradient_norm", "lr", "data_wait_share"} and len(trained.curves) == 15
    for stop_at in range(1, TOTAL + 1):
        folder = tmp_path / str(stop_at)
        with pytest.raises(Stopped):
            _run(folder, stop_at=stop_at)
        status = load_status(folder / "status.json")
        assert status is not None and status.attempt == 1
        resumed, again = _run(folder)
        assert all(torch.equal(value, state[name]) for name, value in resumed.items())
        assert _learnt(again) == _learnt(trained)


def test_who_looks_at_every_epoch_changes_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    state, _ = _run(tmp_path / "alone")
    _, whole = _run(tmp_path / "whole", watched=True)
    for stop_at in (2, 3, 7):
        with pytest.raises(Stopped):
            _run(tmp_path / str(stop_at), stop_at=stop_at, watched=True)
        resumed, again = _run(tmp_path / str(stop_at), watched=True)
        assert all(torch.equal(value, state[name]) for name, value in resumed.items())
        assert _learnt(again) == _learnt(whole) and sum(m.name == "best" for m in again.curves) == 3


def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="step 4: the loss is nan"):
        _run(tmp_path, poison_at=4)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", b"x" * 1000])
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(damage)
    with pytest.raises(UserError, match=r"checkpoint\.pt: cannot be read as a checkpoint .*Delete it to start this run anew"):
        _run(tmp_path)


def test_a_checkpoint_of_another_network_is_one_line(tmp_path: Path) -> None:
    torch.save({"model": {}, "optimizer": {}, "state": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="belongs to another version of this run"):
        _run(tmp_path)
