"""The parts of a profile: clips, pretraining, optimizers of single networks, CKA maps."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import Limits, SameAs, Share, check_limits
from kdbatch.plan.specs import Timeline
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.views import View


@dataclass(frozen=True, kw_only=True)
class ClipScale:
    """The clips of all runs; an experiment may have a timeline of its own."""

    num_frames: Annotated[int, SameAs(View, "num_frames")] = View.num_frames
    stride_frames: Annotated[int, SameAs(View, "stride_frames")] = View.stride_frames
    fps: Annotated[float, SameAs(View, "fps")] = View.fps
    size_pixels: Annotated[
        int, Limits("pixels", least=16, most=4096), SameAs(View, "size_pixels")
    ] = View.size_pixels

    def __post_init__(self) -> None:
        check_limits(self)

    def on(self, timeline: Timeline) -> "ClipScale":
        """The same clips on the timeline of an experiment."""
        own = {name: value for name, value in vars(timeline).items() if value is not None}
        return replace(self, **own)


@dataclass(frozen=True, kw_only=True)
class PretrainScale:
    """The schedule of pretraining, relative to the rate of each task."""

    epochs: Annotated[int, SameAs(Schedule, "epochs")]
    batch_clips: Annotated[int, Limits("videos", least=1, most=1_000_000)]
    """Videos in a batch, over all GPUs; a task may cut several clips from each."""
    lr_factor: Annotated[
        float, Limits("factor", least=1e-6, most=1_000_000, advice="; 1 is usual")
    ] = 1.0
    """Multiple of the task's own rate, which is scaled by batch_clips / 64 as in RSPNet."""
    warmup_epochs: Annotated[float, SameAs(Schedule, "warmup_epochs")] = 0.0
    final_lr_share: Annotated[Share, SameAs(Schedule, "final_lr_share")] = 0.001
    num_micro_batches: Annotated[int, SameAs(Schedule, "num_micro_batches")] = (
        Schedule.num_micro_batches
    )
    colours: Share = 1.0
    """Share of the task's own jitter, grey and blur: a network needs long to become invariant to
    them.
    """

    def __post_init__(self) -> None:
        check_limits(self)


_OwnRate = Annotated[float | None, Limits("learning rate", least=1e-10, most=1000)]


@dataclass(frozen=True, kw_only=True)
class NetworkTraining:
    """How a network is trained where it needs another optimizer or other rates than the profile's.

    Linear probes train no network, and keep the profile's.
    """

    optimizer: Literal["sgd", "adamw"] | None = None
    """SGD with momentum, or AdamW; without it that of the schedules."""
    pretrain_lr: _OwnRate = None
    """Rate of pretraining for batches of 64 clips, in place of that of each task."""
    finetune_lr: _OwnRate = None
    """Rate of fine-tuning, in place of finetune.lr."""
    distill_lr: _OwnRate = None
    """Rate of students and controls, in place of distill.lr."""
    weight_decay: Annotated[float | None, Limits("factor", least=0, most=10)] = None
    """Weight decay of all of them, in place of the tasks' and the schedules'."""
    warmup_epochs: Annotated[float | None, Limits("epochs", least=0, most=100_000)] = None
    """Epochs of warm-up of all of them."""

    def __post_init__(self) -> None:
        check_limits(self)
        rates = ("pretrain_lr", "finetune_lr", "distill_lr")
        missing = [name for name in rates if getattr(self, name) is None]
        if self.optimizer == "adamw" and missing:
            raise UserError(
                f"{missing[0]}: adamw needs a rate of its own, because those of sgd are a hundred "
                f"times too high for it. Write {', '.join(f'{name}: 1.0e-4' for name in missing)}."
            )

    def applied(self, schedule: Schedule, *, lr: float | None) -> Schedule:
        """The schedule of a stage with these settings, and with `lr` where it is not None."""
        own = {
            "lr": lr,
            "weight_decay": self.weight_decay,
            "warmup_epochs": self.warmup_epochs,
            "optimizer": self.optimizer,
        }
        return replace(schedule, **{name: v for name, v in own.items() if v is not None})


@dataclass(frozen=True, kw_only=True)
class CompareScale:
    """The number of clips of CKA maps."""

    num_clips: Annotated[int, SameAs(Compare, "num_clips")] = Compare.num_clips
    batch_clips: Annotated[int, SameAs(Compare, "batch_clips")] = Compare.batch_clips

    def __post_init__(self) -> None:
        check_limits(self)
