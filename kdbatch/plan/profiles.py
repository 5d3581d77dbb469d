"""Profiles, `jobs/profiles/<name>.yaml`: the scale at which all experiments are run."""

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import Limits, OneLine, SameAs, Share, check_limits
from kdbatch.base.reading.field_types import TextOrNumber
from kdbatch.base.reading.places import below
from kdbatch.plan.profile_names import check_profile_names
from kdbatch.plan.shipped_jobs import find_profile
from kdbatch.plan.specs import BackboneName, DatasetName, TaskName, Timeline
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.evaluation import Evaluation, Selection
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.tasks import TASKS, Complexity, PretextTask
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


Settings = TypeVar("Settings")
AnySchedule = TypeVar("AnySchedule", PretrainScale, Schedule)


@dataclass(frozen=True, kw_only=True)
class CompareScale:
    """The number of clips of CKA maps."""

    num_clips: Annotated[int, SameAs(Compare, "num_clips")] = Compare.num_clips
    batch_clips: Annotated[int, SameAs(Compare, "batch_clips")] = Compare.batch_clips

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The settings that all experiments share."""

    seeds: tuple[Annotated[int, Limits("seed", least=0, most=2**32 - 1)], ...]
    """Seeds, each once: every run is made with each of them."""
    clip: ClipScale
    """Clips of all runs."""
    pretrain: PretrainScale
    """Pretraining."""
    finetune: Schedule
    """Fine-tuning of teachers."""
    distill: Schedule
    """Training of students and controls."""
    compare: CompareScale = CompareScale()
    """CKA maps."""
    dropout: Annotated[float, SameAs(Finetune, "dropout")] = Finetune.dropout
    linear: Schedule | None = None
    """Training of linear probes, needed if an experiment has them."""
    finetune_crop: Literal["random-resized", "random", "center"] = "random-resized"
    """Crop of the target's clips, for teachers, students and controls alike. center is the
    benchmark's own view, without flips; random is a square of 112 pixels from a frame of 128 x 171.
    """
    folds: dict[DatasetName, tuple[Annotated[int, Limits("fold", least=1, most=99)], ...]] = field(
        default_factory=dict
    )
    """Folds to train and test on, by target, fold 1 alone without it: pairs of training and test
    split. Tables have their mean, maps the first of them.
    """
    selection: dict[DatasetName, Selection] = field(default_factory=dict)
    """Model selection, by target; a target without it keeps the last epoch."""
    teacher_views: Annotated[int, SameAs(Distill, "teacher_views")] = Distill.teacher_views
    num_eval_clips: Annotated[int, SameAs(Evaluation, "num_clips")] = Evaluation.num_clips
    num_eval_crops: Annotated[Literal[1, 3], SameAs(Evaluation, "num_crops")] = Evaluation.num_crops
    subsets: dict[TextOrNumber, TextOrNumber] = field(default_factory=dict)
    """Sizes that replace others: with 10k: 48, an experiment's 10k is 48 videos."""
    keep: dict[str, tuple[TextOrNumber, ...]] = field(default_factory=dict)
    """Values that are run, by axis; an axis without them runs all of its values."""
    leave_out: tuple[str, ...] = ()
    """Controls and probes that are not run."""
    without: dict[DatasetName, tuple[OneLine, ...]] = field(default_factory=dict)
    """Lists that `kdbatch shard overlap` wrote, in the folder of kdbatch.toml, by the data set that
    is pretrained on: their videos are left out of its subsets.
    """
    widths: dict[BackboneName, Annotated[float, SameAs(Backbone, "width")]] = field(
        default_factory=dict
    )
    """Factor of all channel counts, by backbone."""
    networks: dict[BackboneName, NetworkTraining] = field(default_factory=dict)
    """Optimizer and rates, by backbone; others are trained by SGD at the rates of this file."""
    tasks: dict[TaskName, dict[str, Any]] = field(default_factory=dict)
    """Parameters that replace a pretext task's own, by task."""
    pretrain_of: dict[TaskName, PretrainScale] = field(default_factory=dict)
    """Pretraining by a task, in place of `pretrain`."""
    note: str = ""
    """A warning to readers of the report about numbers at this scale. Published numbers are not
    shown together with numbers that have a note.
    """

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise UserError("seeds: name at least one seed, each once.")
        for field_name, names, known in (
            ("widths", self.widths, BACKBONE_SPECS),
            ("networks", self.networks, BACKBONE_SPECS),
            ("tasks", self.tasks, TASKS),
            ("pretrain_of", self.pretrain_of, TASKS),
        ):
            for name in names:
                lookup(known, name, where=field_name)
        check_schedules(
            {
                "pretrain": self.pretrain,
                "finetune": self.finetune,
                "distill": self.distill,
                "linear": self.linear,
                **{f"pretrain_of.{task}": scale for task, scale in self.pretrain_of.items()},
            }
        )
        scales = (self.pretrain, *self.pretrain_of.values(), self.finetune, self.distill)
        fewest = min(scale.epochs for scale in scales)
        for name, own in self.networks.items():
            if (own.warmup_epochs or 0.0) > fewest:
                raise UserError(
                    f"networks.{name}.warmup_epochs: found {own.warmup_epochs:g}, but a training "
                    f"has {fewest:,} epochs. Write at most {fewest}."
                )
        if self.compare.batch_clips > self.compare.num_clips:
            raise UserError(
                f"compare.batch_clips: found {self.compare.batch_clips:,}, and a map has "
                f"{self.compare.num_clips:,} clips in all (compare.num_clips). Write at most that."
            )
        for target, folds in self.folds.items():
            known = range(1, 1 + (DATASETS[target].num_folds if target in DATASETS else 1))
            if not folds or len(set(folds)) != len(folds) or not set(folds) <= set(known):
                raise UserError(
                    f"folds.{target}: found {list(folds)}. Write one or more of "
                    f"{', '.join(map(str, known))}, each once."
                )
        # parsed once here, where an error can name the profile, also for tasks that no experiment
        # uses
        for task in self.tasks:
            for complexity in get_args(Complexity):
                self.pretext_task(task, complexity)

    def training_of(self, kind: str) -> NetworkTraining:
        """The settings of a backbone; those of a backbone without any change nothing."""
        return self.networks.get(kind, NetworkTraining())

    def folds_of(self, target: str) -> tuple[int, ...]:
        return self.folds.get(target, (1,))

    def pretext_task(self, name: str, complexity: Complexity) -> PretextTask:
        """The parameters of a pretext task at this complexity, with those that the profile sets."""
        task, own = TASKS[name].at_complexity(complexity), self.tasks.get(name, {})
        if taken := [field_name for field_name in ("name", "complexity") if field_name in own]:
            raise UserError(f"tasks.{name}.{taken[0]}: the experiment sets it. Leave it out.")
        return parse(type(task), asdict(task) | own, where=f"tasks.{name}")


def check_schedules(schedules: Mapping[str, PretrainScale | Schedule | None]) -> None:
    """Checks what the fields of a schedule mean together. Runs of older versions are read without
    this.

    Raises:
        UserError: two fields do not fit; the message starts with the schedule's name.
    """
    for name, schedule in schedules.items():
        if schedule is None:
            continue
        if schedule.warmup_epochs > schedule.epochs:
            raise UserError(
                f"{name}.warmup_epochs: found {schedule.warmup_epochs:g}, but the training has "
                f"{schedule.epochs:,} epochs. Write at most {schedule.epochs}."
            )
        if schedule.num_micro_batches > schedule.batch_clips:
            raise UserError(
                f"{name}.num_micro_batches: found {schedule.num_micro_batches:,} for batches of "
                f"{schedule.batch_clips:,} clips. Write 1 to {schedule.batch_clips:,}."
            )
        if isinstance(schedule, Schedule) and schedule.milestones and schedule.decay != "steps":
            raise UserError(
                f"{name}.milestones: decay: {schedule.decay} has none. Write decay: steps, or "
                "leave milestones out."
            )


def changed(usual: Settings, own: Mapping[str, Any], *, where: str) -> Settings:
    """The dataclass `usual` with these fields, of an experiment, in place of its own.

    Raises:
        UserError: it has no such field, or the field cannot have the value; the message starts with
            `where`.
    """
    return parse(type(usual), {**asdict(usual), **own}, where=where) if own else usual  # type: ignore[call-overload]


def changed_schedule(usual: AnySchedule, own: Mapping[str, Any], *, where: str) -> AnySchedule:
    """A schedule with these fields, of an experiment, in place of its own.

    Raises:
        UserError: as `changed`, or the fields do not fit together.
    """
    schedule = changed(usual, own, where=where)
    if own:
        file, _, field_name = where.rpartition(": ")
        try:
            check_schedules({field_name: schedule})
        except UserError as error:
            raise UserError(f"{file}: {error}") from error
    return schedule


def load_profile(
    experiment: Path, name: str, *, datasets: Collection[str] = tuple(DATASETS)
) -> Profile:
    """The profile `name`: next to the experiment file, or else the one that comes with kdbatch.

    It may name the `datasets`.

    Raises:
        UserError: there is no such profile, or it has a mistake.
    """
    path = find_profile(experiment, name)
    profile = parse(Profile, load_yaml(path), where=str(path))
    for field_name in ("folds", "selection", "without"):
        for dataset in getattr(profile, field_name):
            lookup(dict.fromkeys(datasets), dataset, where=below(str(path), field_name))
    check_profile_names(
        leave_out=profile.leave_out,
        keep=profile.keep,
        subsets=profile.subsets,
        experiment=experiment,
        where=str(path),
    )
    return profile
