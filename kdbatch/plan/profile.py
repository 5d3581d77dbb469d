"""A profile: the scale at which every experiment alike is run. `jobs/profiles/<name>.yaml`, beside
the experiments.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean, lookup
from kdbatch.base.parse import parse
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.vocab.backbones import BACKBONE_TITLES
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.recipes import Schedule, Selection
from kdbatch.vocab.tasks import TASKS, Complexity, PretextTask


@dataclass(frozen=True, kw_only=True)
class ClipScale:
    """Every clip of the study: frames, their distance, and the side of the square, as in
    vocab.views.View.
    """

    num_frames: int = 16
    stride_frames: int = 1
    fps: float = 25.0
    size_pixels: int = 112


@dataclass(frozen=True, kw_only=True)
class PretrainScale:
    """The rate is `lr_factor` times the task's own rate, scaled by batch_clips / 64 as RSPNet does.

    `colours` is the share of the task's own jitter, grey and blur: to see through them takes long
    to learn.
    """

    epochs: int
    batch_clips: int
    lr_factor: float = 1.0
    warmup_epochs: float = 0.0
    final_lr_share: float = 0.001
    num_micro_batches: int = 1
    colours: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.colours <= 1:
            raise UserError(f"colours: found {self.colours}. Write a share from 0 to 1.")


@dataclass(frozen=True, kw_only=True)
class CompareScale:
    num_clips: int = 1024
    batch_clips: int = 64


@dataclass(frozen=True, kw_only=True)
class Profile:
    """`subsets` replaces sizes (10k: 48 reads 48 videos where an experiment says 10k); `keep` names
    the values of an axis that are kept; `leave_out` names controls that are not run; `widths` are
    by backbone, `tasks` parameters by pretext task, `pretrain_of` what stands in for `pretrain` for
    single tasks.

    `selection` is by target; a target without one keeps the last epoch. `linear` is the schedule of
    linear probes, needed where an experiment asks for them. `finetune_crop` is how clips of the
    target are cut, for teachers, students and controls alike; "center" is the benchmark's own view,
    without flips, and "random" a square of 112 pixels from a frame of 128 x 171. `teacher_views` is
    the field of vocab.recipes.Distill. `note` is what a reader of the report must know of numbers
    at this scale; published numbers are not put beside those that have one.
    """

    seeds: tuple[int, ...]
    clip: ClipScale
    pretrain: PretrainScale
    finetune: Schedule
    distill: Schedule
    compare: CompareScale = CompareScale()
    dropout: float = 0.5
    linear: Schedule | None = None
    finetune_crop: Literal["random-resized", "random", "center"] = "random-resized"
    selection: dict[str, Selection] = field(default_factory=dict)
    teacher_views: int = 0
    num_eval_clips: int = 10
    num_eval_crops: Literal[1, 3] = 1
    subsets: dict[str, str] = field(default_factory=dict)
    keep: dict[str, tuple[str, ...]] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    widths: dict[str, float] = field(default_factory=dict)
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    pretrain_of: dict[str, PretrainScale] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise UserError("seeds: name at least one seed, each once.")
        if self.num_eval_clips < 1:
            raise UserError(
                f"num_eval_clips: found {self.num_eval_clips}. Write at least 1; 10 is usual."
            )
        if self.teacher_views < 0:
            raise UserError(
                f"teacher_views: found {self.teacher_views}. Write a number of epochs, or 0 for views that never come again."
            )
        for place, known in (
            ("selection", DATASETS),
            ("widths", BACKBONE_TITLES),
            ("tasks", TASKS),
            ("pretrain_of", TASKS),
        ):
            for name in getattr(self, place):
                lookup(known, name, where=place)
        for task in (
            self.tasks
        ):  # here, where the file is known, and for tasks that no experiment of today has
            for complexity in get_args(Complexity):
                self.pretext_task(task, complexity)

    def pretext_task(self, name: str, complexity: Complexity) -> PretextTask:
        """The task's parameters at a complexity, with those of the profile."""
        task = TASKS[name].at_complexity(complexity)
        return parse(type(task), asdict(task) | self.tasks.get(name, {}), where=f"tasks.{name}")


def load_profile(experiment: Path, name: str) -> Profile:
    """The profile `name` of the experiment file's folder.

    Raises:
        UserError: there is no such profile, or it has a mistake.
    """
    folder = experiment.parent / "profiles"
    path = folder / f"{name}.yaml"
    if not path.exists():
        known = [p.stem for p in sorted(folder.glob("*.yaml"))]
        raise UserError(
            f"--profile {name}: there is no {path}.{did_you_mean(name, known)} Profiles there: {', '.join(known) or 'none'}."
        )
    raw = load_yaml(path)
    if isinstance(raw.get("subsets"), dict):  # sizes may be written as numbers
        raw["subsets"] = {str(k): str(v) for k, v in raw["subsets"].items()}
    return parse(Profile, raw, where=str(path))
