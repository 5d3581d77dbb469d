"""Profiles, `jobs/profiles/<name>.yaml`: the scale at which all experiments are run."""

from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal, get_args

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.parse import TextOrNumber, parse
from kdbatch.plan.shipped_jobs import find_profile
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.recipes import Compare, Distill, Evaluation, Finetune, Schedule, Selection
from kdbatch.vocab.runs import check_minimum
from kdbatch.vocab.tasks import TASKS, Complexity, PretextTask
from kdbatch.vocab.views import View


@dataclass(frozen=True, kw_only=True)
class ClipScale:
    """The clips of all runs. The fields are those of vocab.views.View, with its defaults."""

    num_frames: int = View.num_frames
    stride_frames: int = View.stride_frames
    fps: float = View.fps
    size_pixels: int = View.size_pixels

    def __post_init__(self) -> None:
        check_minimum(self, num_frames=1, stride_frames=1, size_pixels=1)
        if not 0 < self.fps < inf:
            raise UserError(f"fps: found {self.fps:g}. Write more than 0; 25 is usual.")


@dataclass(frozen=True, kw_only=True)
class PretrainScale:
    """The schedule of pretraining, relative to the rate of each task.

    The learning rate is `lr_factor` times the task's own rate, scaled by batch_clips / 64 as in
    RSPNet. `colours` is the share of the task's own jitter, grey and blur: a network needs long to
    become invariant to them.
    """

    epochs: int
    batch_clips: int
    lr_factor: float = 1.0
    warmup_epochs: float = 0.0
    final_lr_share: float = 0.001
    num_micro_batches: int = Schedule.num_micro_batches
    colours: float = 1.0

    def __post_init__(self) -> None:
        check_minimum(self, epochs=1, batch_clips=1, num_micro_batches=1)
        if not 0 < self.lr_factor < inf:
            raise UserError(f"lr_factor: found {self.lr_factor:g}. Write more than 0; 1 is usual.")
        if not 0 <= self.colours <= 1:
            raise UserError(f"colours: found {self.colours}. Write a share from 0 to 1.")


@dataclass(frozen=True, kw_only=True)
class CompareScale:
    """The number of clips of CKA maps, with the defaults of vocab.recipes.Compare."""

    num_clips: int = Compare.num_clips
    batch_clips: int = Compare.batch_clips


@dataclass(frozen=True, kw_only=True)
class Profile:
    """The settings that all experiments share.

    subsets: replaces sizes (with 10k: 48, an experiment's 10k is 48 videos).
    keep: axis -> the values of it that are run.
    leave_out: controls that are not run.
    widths: backbone -> width.
    tasks: pretext task -> parameters that replace its own.
    pretrain_of: pretext task -> what replaces `pretrain` for it.
    selection: target -> model selection; a target without one keeps the last epoch.
    linear: the schedule of linear probes, needed if an experiment has them.
    finetune_crop: the crop of the target's clips, for teachers, students and controls alike.
        "center" is the benchmark's own view, without flips; "random" is a square of 112 pixels from
        a frame of 128 x 171.
    teacher_views: the field of vocab.recipes.Distill.
    note: a warning to readers of the report about numbers at this scale. Published numbers are not
        shown together with numbers that have a note.
    """

    seeds: tuple[int, ...]
    clip: ClipScale
    pretrain: PretrainScale
    finetune: Schedule
    distill: Schedule
    compare: CompareScale = CompareScale()
    dropout: float = Finetune.dropout
    linear: Schedule | None = None
    finetune_crop: Literal["random-resized", "random", "center"] = "random-resized"
    selection: dict[str, Selection] = field(default_factory=dict)
    teacher_views: int = Distill.teacher_views
    num_eval_clips: int = Evaluation.num_clips
    num_eval_crops: Literal[1, 3] = Evaluation.num_crops
    subsets: dict[TextOrNumber, TextOrNumber] = field(default_factory=dict)
    keep: dict[str, tuple[TextOrNumber, ...]] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    widths: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    pretrain_of: dict[str, PretrainScale] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise UserError("seeds: name at least one seed, each once.")
        if negative := [seed for seed in self.seeds if seed < 0]:
            raise UserError(f"seeds: found {negative[0]}. Write whole numbers of at least 0.")
        if not 0 <= self.dropout < 1:
            raise UserError(f"dropout: found {self.dropout:g}. Write a share from 0 to below 1.")
        for name, width in self.widths.items():
            if not 0 < width < inf:
                raise UserError(f"widths.{name}: found {width:g}. Write more than 0; 1 is usual.")
        if self.num_eval_clips < 1:
            raise UserError(
                f"num_eval_clips: found {self.num_eval_clips}. Write at least 1; 10 is usual."
            )
        if self.teacher_views < 0:
            raise UserError(
                f"teacher_views: found {self.teacher_views}. Write a number of epochs after which "
                "views are repeated, or 0 to never repeat them."
            )
        for field_name, names, known in (
            ("selection", self.selection, DATASETS),
            ("widths", self.widths, BACKBONE_SPECS),
            ("tasks", self.tasks, TASKS),
            ("pretrain_of", self.pretrain_of, TASKS),
        ):
            for name in names:
                lookup(known, name, where=field_name)
        # parsed once here, where an error can name the profile, also for tasks that no experiment
        # uses
        for task in self.tasks:
            for complexity in get_args(Complexity):
                self.pretext_task(task, complexity)

    def pretext_task(self, name: str, complexity: Complexity) -> PretextTask:
        """The parameters of a pretext task at this complexity, with those that the profile sets."""
        task = TASKS[name].at_complexity(complexity)
        return parse(type(task), asdict(task) | self.tasks.get(name, {}), where=f"tasks.{name}")


def load_profile(experiment: Path, name: str) -> Profile:
    """The profile `name`: next to the experiment file, or else the one that comes with kdbatch.

    Raises:
        UserError: there is no such profile, or it has a mistake.
    """
    path = find_profile(experiment, name)
    return parse(Profile, load_yaml(path), where=str(path))
