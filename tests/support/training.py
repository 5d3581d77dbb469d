"""A training run of nine steps on random clips, by a network of a few weights."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from kdbatch.result.write import Measure
from kdbatch.run.context import RunContext
from kdbatch.run.data.augment_params import AugmentParams
from kdbatch.run.data.batches import Batch
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.run.train.loop import TrainingResult, train
from kdbatch.run.train.steps import StepOutput, finetune_step
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.views import View

CPU = torch.device("cpu")
SCHEDULE = Schedule(epochs=3, batch_clips=4, lr=0.1, warmup_epochs=1.0, head_lr_factor=2.0)
TOTAL = 9


class Noise:
    """Nine batches of random clips, each a pure function of its step.

    In a process group each rank has its share of every batch.
    """

    steps_per_epoch = 3
    clips_per_batch = 4
    view = View(size_pixels=8)

    def __init__(self, group: ProcessGroup = SINGLE_PROCESS) -> None:
        self.share = slice(group.rank, None, group.world_size)

    def __getitem__(self, step: int) -> Batch:
        rng = torch.Generator().manual_seed(step)
        clips = [
            torch.randint(0, 256, (2, 8, 8, 3), generator=rng, dtype=torch.uint8) for _ in range(4)
        ][self.share]
        draws = [AugmentParams((0, 0, 8, 8), False, False)] * len(clips)
        return Batch(
            clips=clips,
            augment_params=draws,
            num_views=1,
            label_B=(torch.arange(4) % 3)[self.share],
            keys=list("abcd")[self.share],
        )


class Net(nn.Module):
    """A network with batch statistics and dropout: state that a resumed run could lose."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv3d(3, 4, 1), nn.BatchNorm3d(4), nn.ReLU(), nn.Dropout(0.5)
        )
        self.fc = nn.Linear(4, 3)

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        return self.fc(self.backbone(clip).mean((2, 3, 4)))


class Watcher:
    """An epoch callback with state: the highest sum of weights at the end of an epoch."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.epochs, self.best = model, list[int](), torch.tensor(-math.inf)

    def on_epoch_end(self, epoch: int) -> dict[str, float]:
        self.model.eval()
        self.epochs.append(epoch)
        self.best = torch.maximum(
            self.best, sum((p.detach().sum() for p in self.model.parameters()), torch.tensor(0.0))
        )
        return {"best": float(self.best)}

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": list(self.epochs), "best": self.best}

    def load_state_dict(self, memory: dict[str, Any]) -> None:
        self.epochs, self.best = memory["epochs"], memory["best"]


def run(
    folder: Path,
    *,
    stop_at: int | None = None,
    poison_at: int | None = None,
    watched: bool = False,
    group: ProcessGroup = SINGLE_PROCESS,
    schedule: Schedule = SCHEDULE,
    net: Callable[[], nn.Module] = Net,
    device: torch.device = CPU,
) -> tuple[dict[str, torch.Tensor], TrainingResult]:
    """Train `net`, and return its state and the result of training.

    `stop_at` requests a stop in that step; `poison_at` makes the loss of that step NaN.
    """
    torch.manual_seed(7)
    model, stop, steps = net().to(device), StopSignal(), 0
    watcher = Watcher(model) if watched else None
    with StatusReporter(
        RunFolder(folder), device="cpu", stop=stop, writes=group.is_rank0
    ) as reporter:
        context = RunContext(
            folder=RunFolder(folder),
            reporter=reporter,
            device=device,
            num_workers=0,
            clip_reader=ClipReader(decoder="pyav"),
            group=group,
            compile=True,
        )

        def take_step(clip_VBCTHW: torch.Tensor, batch: Batch) -> StepOutput:
            nonlocal steps
            steps += 1
            stop.requested = steps == stop_at
            step = finetune_step(model, clip_VBCTHW[0], batch.label_B)
            if steps == poison_at:
                return StepOutput(loss=step.loss * float("nan"), report={})
            return step

        source = Noise(group)
        trained = train(
            model,
            take_step,
            source=source,  # pyright: ignore[reportArgumentType]  # has what `train` uses of it
            schedule=schedule,
            seed=0,
            context=context,
            after_epoch=watcher,
        )
    assert watcher is None or watcher.epochs == [1, 2, 3]
    return model.state_dict(), trained


def deterministic_curves(trained: TrainingResult) -> list[Measure]:
    """The curves that do not depend on timing."""
    return [m for m in trained.curves if m.name != "idle_share"]
