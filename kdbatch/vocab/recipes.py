"""Recipes: everything that can change the numbers a run measures, and nothing else."""

from dataclasses import dataclass, replace
from typing import Literal

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.shards import Subset
from kdbatch.vocab.tasks import TASKS, PretextTask
from kdbatch.vocab.views import View

RECIPE_VERSION = 3  # raise it when the same recipe starts to give other numbers

WEIGHTING_NAMES = (
    "equal",
    "ae-kd",
    "ca-mkd",
)
"""How teachers can be weighted; the functions are in run/train/weighting.py."""

NO_WEIGHTING = "none"
"""The weighting of a student without teachers."""


def check_weighting(name: str) -> None:
    """Raise a UserError with the known names if there is no such weighting."""
    lookup(dict.fromkeys((NO_WEIGHTING, *WEIGHTING_NAMES)), name, where="weighting")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """SGD with momentum, a linear warm-up and a decay of the learning rate.

    The rate rises linearly over `warmup_epochs`. Then it falls along a cosine to
    `lr * final_lr_share`, or is multiplied by `decay_factor` at each of `milestones` (shares of all
    epochs).

    `num_micro_batches` splits a batch into parts that are processed one after the other, and
    accumulates their mean gradient: for a GPU whose memory does not hold the whole batch. Batch
    normalisation then sees one part at a time, so the number belongs to the recipe.
    """

    epochs: int
    batch_clips: int
    lr: float
    head_lr_factor: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: float = 0.0
    decay: Literal["cosine", "steps"] = "cosine"
    final_lr_share: float = 0.0
    milestones: tuple[float, ...] = ()
    decay_factor: float = 0.1
    num_micro_batches: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.num_micro_batches <= self.batch_clips:
            raise UserError(
                f"num_micro_batches: found {self.num_micro_batches} for batches of "
                f"{self.batch_clips} clips. Write 1 to {self.batch_clips}."
            )
        if self.epochs < 1 or self.batch_clips < 1 or self.lr <= 0:
            raise UserError(
                "a schedule needs at least 1 epoch, 1 clip per batch and a positive lr."
            )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a network is tested: softmax averaged over clips and crops of each test video.

    `num_clips` clips are spread evenly over a video. One crop is the largest centre square
    (RSPNet's test). Three crops lie at the start, middle and end of the long side, each 7/8 of the
    short side (112 of 128 pixels). Objects therefore appear 1/8 smaller in one crop than in three,
    and than in the one crop of VCOP and PRP.
    """

    test: Subset
    num_clips: int = 10
    num_crops: Literal[1, 3] = 1


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Model selection: keep the epoch with the best top-1 on videos held out of the training split.

    The earliest of equal epochs is kept. About `share` of the videos are held out, in whole groups,
    the same ones for every seed. Every `every_epochs`-th epoch and the last one are evaluated, with
    `num_clips` clips of each video.
    """

    share: float
    every_epochs: int = 1
    num_clips: int = 3

    def __post_init__(self) -> None:
        if not 0 < self.share <= 0.5:
            raise UserError(
                f"share: found {self.share:g}. Write more than 0 and at most 0.5, or leave "
                "selection out to keep the last epoch."
            )
        if self.every_epochs < 1 or self.num_clips < 1:
            raise UserError(
                f"every_epochs, num_clips: found {self.every_epochs} and {self.num_clips}. "
                "Write at least 1 for each."
            )


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """A backbone trained on a pretext task, without labels."""

    kind: Literal["pretrain"] = "pretrain"
    task: PretextTask
    backbone: Backbone
    data: Subset
    view: View
    schedule: Schedule

    def __post_init__(self) -> None:
        spec, parts = TASKS[self.task.name], self.schedule.num_micro_batches
        if spec.needs_whole_batch and parts > 1:
            raise UserError(
                f"pretrain.num_micro_batches: found {parts}, which would change what {spec.title} "
                "learns from: it compares the clips of a whole batch, or of a queue that moves "
                "with the batch. Write 1, and lower pretrain.batch_clips or add GPUs if memory is "
                "short."
            )


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """A teacher: the backbone of its one parent, with a new head, trained on labels.

    Without a parent the backbone starts from random weights. `trained="head"` is the linear probe:
    the backbone stays frozen, with its batch statistics. Without `selection` the last epoch is
    kept.
    """

    kind: Literal["finetune"] = "finetune"
    backbone: Backbone
    data: Subset
    view: View
    schedule: Schedule
    evaluation: Evaluation
    selection: Selection | None = None
    trained: Literal["all", "head"] = "all"
    dropout: float = 0.5


@dataclass(frozen=True, kw_only=True)
class Distill:
    """A student trained on labels and on the softened predictions of its parents, the teachers.

    Without parents it is the labels-only control (`without_teachers`).

    Loss = hard_weight * CE + soft_weight * temperature^2 * sum_m w_m KL(teacher_m || student),
    AE-KD (Du et al. 2020). `max_teacher_weight` is AE-KD's C: w_m <= C. `feature_weight` is
    CA-MKD's beta (50 there), the weight of its second term, which compares the last feature maps
    (run/train/feature_match.py).

    With `teacher_views` n > 0, epoch e + n repeats the clips and augmentations of epoch e, so that
    each teacher sees each of them only once; with 0, every epoch draws new ones. Without
    `selection` the last epoch is kept.
    """

    kind: Literal["distill"] = "distill"
    backbone: Backbone
    data: Subset
    view: View
    schedule: Schedule
    evaluation: Evaluation
    selection: Selection | None = None
    teacher_views: int = 0
    weighting: str = "ae-kd"
    temperature: float = 4.0
    hard_weight: float = 1.0
    soft_weight: float = 0.9
    max_teacher_weight: float = 0.6
    feature_weight: float = 0.0
    dropout: float = 0.5

    def __post_init__(self) -> None:
        check_weighting(self.weighting)
        if self.feature_weight < 0 or (self.feature_weight and self.weighting != "ca-mkd"):
            raise UserError(
                f"feature_weight: found {self.feature_weight:g} with weighting {self.weighting}. "
                "It belongs to ca-mkd and must be at least 0: write weighting: ca-mkd, or leave "
                "feature_weight out."
            )
        if self.feature_weight and self.teacher_views:
            raise UserError(
                "feature_weight: the teachers' feature maps are too large to be cached. Write "
                "teacher_views: 0 in the profile, or leave feature_weight out."
            )

    def without_teachers(self) -> "Distill":
        """The labels-only control of this student.

        Every field that concerns teachers gets one fixed value, so that controls that differ in
        nothing else are one run.
        """
        return replace(
            self,
            weighting=NO_WEIGHTING,
            temperature=1.0,
            soft_weight=0.0,
            max_teacher_weight=1.0,
            feature_weight=0.0,
        )


@dataclass(frozen=True, kw_only=True)
class Retrieve:
    """Nearest-neighbour retrieval with the features of its one parent's backbone, without training.

    Without a parent the backbone has random weights. Each test video queries the videos of `data`.
    R@k, for each k of `ranks`, is the share of test videos that have a video of their own class
    among their k nearest neighbours. If `evaluation` has one crop, it is the crop of `view`.
    """

    kind: Literal["retrieve"] = "retrieve"
    backbone: Backbone
    data: Subset
    view: View
    evaluation: Evaluation
    ranks: tuple[int, ...] = (1, 5, 10, 20, 50)


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Minibatch CKA between every layer of the first parent and every layer of the last.

    With one parent it is a map of the network with itself.
    """

    kind: Literal["compare"] = "compare"
    data: Subset
    view: View
    layers: Literal["res", "act", "all"] = "act"
    num_clips: int = 1024
    batch_clips: int = 64

    def __post_init__(self) -> None:
        if self.batch_clips < 4:
            raise UserError("compare: the unbiased HSIC needs batches of at least 4 clips.")


Recipe = Pretrain | Finetune | Distill | Retrieve | Compare
RECIPE_KINDS = ("pretrain", "finetune", "distill", "retrieve", "compare")
