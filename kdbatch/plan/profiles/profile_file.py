"""A profile, and where it is found."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import Limits, OneLine, SameAs, check_limits
from kdbatch.base.reading.field_types import TextOrNumber
from kdbatch.base.reading.places import below
from kdbatch.plan.profiles.changes import check_schedules
from kdbatch.plan.profiles.names import check_profile_names
from kdbatch.plan.profiles.scales import ClipScale, CompareScale, NetworkTraining, PretrainScale
from kdbatch.plan.shipped_jobs import find_profile
from kdbatch.plan.specs import BackboneName, DatasetName, TaskName
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.evaluation import Evaluation, Selection
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.tasks import TASKS, Complexity, PretextTask


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
    compare: CompareScale = field(default_factory=CompareScale)
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
        self._check_names()
        self._check_trainings()
        if self.compare.batch_clips > self.compare.num_clips:
            raise UserError(
                f"compare.batch_clips: found {self.compare.batch_clips:,}, and a map has "
                f"{self.compare.num_clips:,} clips in all (compare.num_clips). Write at most that."
            )
        self._check_folds()
        # parsed once here, where an error can name the profile, also for tasks that no experiment
        # uses
        for task in self.tasks:
            for complexity in get_args(Complexity):
                self.pretext_task(task, complexity)

    def _check_names(self) -> None:
        for field_name, names, known in (
            ("widths", self.widths, BACKBONE_SPECS),
            ("networks", self.networks, BACKBONE_SPECS),
            ("tasks", self.tasks, TASKS),
            ("pretrain_of", self.pretrain_of, TASKS),
        ):
            for name in names:
                lookup(known, name, where=field_name)

    def _check_trainings(self) -> None:
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

    def _check_folds(self) -> None:
        for target, folds in self.folds.items():
            known = range(1, 1 + (DATASETS[target].num_folds if target in DATASETS else 1))
            if not folds or len(set(folds)) != len(folds) or not set(folds) <= set(known):
                raise UserError(
                    f"folds.{target}: found {list(folds)}. Write one or more of "
                    f"{', '.join(map(str, known))}, each once."
                )

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
