"""Recipes: everything that can change the numbers a run measures, and nothing else."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from kdbatch.base.digests.hashed_fields import new_field
from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.reading.field_facts import Limits, OneLine, Share, check_limits
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.distillation.feature_layers import FEATURE_LOSS_NAMES, parse_layers
from kdbatch.vocab.distillation.losses import LOSS_SPECS, TermWeight, check_terms
from kdbatch.vocab.distillation.weightings import WEIGHTING_SPECS
from kdbatch.vocab.extensions.sources import Code
from kdbatch.vocab.shards import Subset
from kdbatch.vocab.tasks import TASKS, PretextTask
from kdbatch.vocab.views import View

RECIPE_VERSION = 3  # raise it when the same recipe starts to give other numbers

NO_WEIGHTING = "none"
"""The weighting of a student without teachers."""


Rank = Annotated[int, Limits("neighbours", least=1, most=1_000_000)]
VideosPerClass = Annotated[int, Limits("videos", least=0, most=1_000_000)]


def check_weighting(name: str) -> None:
    """Raise a UserError with the known names if there is no such weighting."""
    if name != NO_WEIGHTING:
        lookup(WEIGHTING_SPECS, name, where="weighting")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """An optimizer, a linear warm-up and a decay of the learning rate.

    Batch normalisation sees one micro-batch at a time, so their number belongs to the recipe.
    """

    epochs: Annotated[int, Limits("epochs", least=1, most=100_000)]
    """Passes over the training videos."""
    batch_clips: Annotated[int, Limits("clips", least=1, most=1_000_000)]
    """Clips in a batch, over all GPUs."""
    lr: Annotated[float, Limits("learning rate", least=1e-10, most=1000)]
    """Learning rate after the warm-up, for a whole batch."""
    head_lr_factor: Annotated[float, Limits("factor", least=0, most=10_000)] = 1.0
    """The new head's rate, as a multiple of `lr`."""
    momentum: Annotated[float, Limits("share", least=0, below=1)] = 0.9
    """Momentum of SGD; AdamW's share of the mean gradient before (beta1; its beta2 is 0.999)."""
    weight_decay: Annotated[float, Limits("factor", least=0, most=10)] = 5e-4
    """Weight decay; AdamW's is a share of the weights, in units of the rate."""
    warmup_epochs: Annotated[float, Limits("epochs", least=0, most=100_000)] = 0.0
    """Epochs over which the rate rises linearly to `lr`."""
    decay: Literal["cosine", "steps"] = "cosine"
    """Shape of the decay: a cosine down to `final_lr_share`, or steps at `milestones`."""
    final_lr_share: Share = 0.0
    """Rate at the end of a cosine, as a share of `lr`."""
    milestones: tuple[Share, ...] = ()
    """Shares of all epochs at which a decay by steps multiplies the rate by `decay_factor`."""
    decay_factor: Annotated[float, Limits("factor", least=1e-6, most=1)] = 0.1
    """Factor of the rate at each milestone."""
    num_micro_batches: Annotated[int, Limits("parts", least=1, most=1_000_000)] = 1
    """Parts of a batch that are processed one after the other, for a GPU with too little memory."""
    optimizer: Literal["sgd", "adamw"] = new_field("sgd")
    """SGD with momentum, or AdamW (Loshchilov & Hutter 2019), whose rates are far lower."""

    def __post_init__(self) -> None:
        check_limits(self)
        if self.num_micro_batches > self.batch_clips:
            raise UserError(
                f"num_micro_batches: found {self.num_micro_batches} for batches of "
                f"{self.batch_clips} clips. Write 1 to {self.batch_clips}."
            )


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a network is tested: softmax averaged over clips and crops of each test video.

    Objects appear 1/8 smaller in one crop than in three, and than in the one crop of VCOP and PRP.
    """

    test: Subset
    num_clips: Annotated[int, Limits("clips", least=1, most=10_000, advice="; 10 is usual")] = 10
    """Clips of each test video, spread evenly over it."""
    num_crops: Literal[1, 3] = 1
    """Crops of each test clip: the largest centre square (1, RSPNet's test), or squares of 7/8 of
    the short side at the start, middle and end of the long side (3).
    """

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Model selection: keep the epoch with the best top-1 on videos held out of the training split.

    The earliest of equal epochs is kept.
    """

    share: Annotated[
        float,
        Limits(
            "share", least=0.001, most=0.5, advice=", or leave selection out to keep the last epoch"
        ),
    ]
    """Share of the training videos that are held out, in whole groups, the same for every seed."""
    every_epochs: Annotated[int, Limits("epochs", least=1, most=100_000)] = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    num_clips: Annotated[int, Limits("clips", least=1, most=10_000)] = 3
    """Clips of each held-out video."""

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """A backbone trained on a pretext task, without labels."""

    kind: Literal["pretrain"] = "pretrain"
    task: PretextTask
    backbone: Backbone
    data: Subset
    view: View
    schedule: Schedule
    least_fps: Annotated[float, Limits("frames/s", least=0, most=1_000_000)] = new_field(0.0)
    """Videos of fewer frames per second are left out; 0 where no video of the subset is too slow
    for the task.
    """

    def __post_init__(self) -> None:
        check_limits(self)
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
    dropout: Annotated[float, Limits("share", least=0, below=1)] = 0.5
    """Share of features that dropout sets to zero before the head."""
    videos_per_class: VideosPerClass = new_field(0)
    """Training videos of each class, the first in storage order; 0: all of them."""
    shuffled_labels: bool = new_field(False)
    """Whether the training videos' labels are permuted among them, by the seed (Zhang et al. 2017,
    arXiv:1611.03530): nothing that holds for other videos can be learnt from them.
    """

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class Distill:
    """A student trained on labels and on the softened predictions of its parents, the teachers.

    Without teachers it is the labels-only control (`without_teachers`). `Run.teachers` and its
    neighbours tell which parents are teachers.

    Loss = hard_weight * CE + soft_weight * temperature^2 * sum_m w_m L(teacher_m, student), where L
    is KL in AE-KD (Du et al. 2020), plus feature_weight * a comparison of feature maps
    (run/train/feature_match.py). Without `selection` the last epoch is kept.
    """

    kind: Literal["distill"] = "distill"
    backbone: Backbone
    data: Subset
    view: View
    schedule: Schedule
    evaluation: Evaluation
    selection: Selection | None = None
    teacher_views: Annotated[int, Limits("epochs", least=0, most=100_000)] = 0
    """Epochs after which a student's clips and augmentations are repeated, so that each teacher
    sees each of them only once; 0: every epoch draws new ones.
    """
    weighting: Annotated[str, Limits(choices=(NO_WEIGHTING, *WEIGHTING_SPECS.built_in))] = "ae-kd"
    """How the teachers are weighted; none is for a student without teachers."""
    temperature: Annotated[
        float, Limits("temperature", least=0.001, most=1000, advice="; 4 is usual")
    ] = 4.0
    """Divisor of all logits before their softmax: above 1 it softens the predictions."""
    hard_weight: Annotated[float, Limits("weight", least=0, most=1_000_000)] = 1.0
    """Weight of the cross-entropy with the labels."""
    soft_weight: Annotated[float, Limits("weight", least=0, most=1_000_000)] = 0.9
    """Weight of the loss that compares with the teachers."""
    max_teacher_weight: Annotated[float, Limits("weight", least=0.001, most=1)] = 0.6
    """Largest weight that ae-kd gives to one teacher: C in its source."""
    feature_weight: Annotated[float, Limits("weight", least=0, most=1_000_000)] = 0.0
    """Weight of `feature_loss`: 50 in ca-mkd's source, where it is beta; 0: no comparison."""
    dropout: Annotated[float, Limits("share", least=0, below=1)] = 0.5
    soft_target: Literal["teachers", "smoothed-labels"] = new_field("teachers")
    """Target of the soft loss: the teachers' predictions, or the labels, smoothed until they are as
    uncertain as those predictions are on average over a batch.
    """
    start: Literal["random", "pretrained"] = new_field("random")
    """Weights that the backbone starts from: random ones, or those of a pretraining."""
    kept_epoch: Literal["best", "equal-accuracy"] = new_field("best")
    """Epoch that `selection` keeps: the best on held-out videos, or the one whose accuracy there is
    nearest to that of another student.
    """
    videos_per_class: VideosPerClass = new_field(0)
    """Training videos of each class, the first in storage order; 0: all of them."""
    loss: Annotated[str, Limits(choices=tuple(LOSS_SPECS.built_in))] = new_field("kl")
    """Loss of the predictions of student and teacher: kl, dkd (Decoupled KD) or dist
    (correlations).
    """
    loss_terms: tuple[TermWeight, ...] = new_field(())
    """Weights of the loss's terms: of dkd's target class and other classes, of dist's relations
    between classes and between clips.
    """
    standardized_logits: bool = new_field(False)
    """Whether all logits are standardised clip by clip before the temperature divides them."""
    label_smoothing: Annotated[float, Limits("share", least=0, below=1)] = new_field(0.0)
    """Share of a label's weight that is spread over all classes in the cross-entropy with the
    labels.
    """
    teacher_dropping: Annotated[float, Limits("share", least=0, below=1)] = new_field(0.0)
    """Probability that a clip does not learn from a teacher, except for the one with the highest
    loss: 0.5 in UNIC.
    """
    feature_loss: Annotated[str, Limits(choices=FEATURE_LOSS_NAMES)] = new_field("ca-mkd")
    """Loss of feature maps: ca-mkd (last maps, with the weighting ca-mkd), hints (squared
    differences, FitNets) or cosine-l1 (cosine and smooth L1, UNIC).
    """
    feature_layers: tuple[OneLine, ...] = new_field(())
    """Layers whose maps are compared, STUDENT'S:TEACHER'S, such as layer2:conv4; each teacher
    follows those that it has. Without any, the last maps are compared.
    """

    def __post_init__(self) -> None:
        check_limits(self)
        check_weighting(self.weighting)
        check_terms(self.loss, self.loss_terms)
        lookup(dict.fromkeys(FEATURE_LOSS_NAMES), self.feature_loss, where="feature_loss")
        for text in self.feature_layers:
            parse_layers(text)
        if LOSS_SPECS[self.loss].needs_whole_batch and self.schedule.num_micro_batches > 1:
            raise UserError(
                f"loss: {self.loss} compares the clips of a whole batch, which the profile parts "
                f"(distill.num_micro_batches: {self.schedule.num_micro_batches}). Write 1 there, "
                "and lower distill.batch_clips or add GPUs if memory is short; or write kl or dkd."
            )
        if self.feature_weight:
            self._check_feature_loss()

    def _check_feature_loss(self) -> None:
        found = f"found {self.feature_weight:g}"
        if self.feature_loss == "ca-mkd" and self.weighting != "ca-mkd":
            raise UserError(
                f"feature_weight: {found} with feature_loss ca-mkd and weighting {self.weighting}. "
                "It belongs to ca-mkd: write weighting: ca-mkd, or feature_loss: hints or "
                "cosine-l1, or leave feature_weight out."
            )
        if self.feature_loss == "ca-mkd" and self.feature_layers:
            raise UserError(
                "feature_layers: ca-mkd compares the last feature maps alone, because teachers' "
                "heads read them. Leave feature_layers out, or write feature_loss: hints."
            )
        if self.teacher_views:
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
            soft_target="teachers",
            loss="kl",
            loss_terms=(),
            standardized_logits=False,
            teacher_dropping=0.0,
            feature_loss="ca-mkd",
            feature_layers=(),
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
    ranks: tuple[Rank, ...] = (1, 5, 10, 20, 50)

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Minibatch CKA between every layer of the first parent and every layer of the last.

    With one parent it is a map of the network with itself; without any, of `untrained`, a network
    with the random weights that its training would start from.
    """

    kind: Literal["compare"] = "compare"
    data: Subset
    view: View
    layers: Literal["res", "act", "all"] = "act"
    num_clips: Annotated[int, Limits("clips", least=4, most=1_000_000)] = 1024
    """Test clips that a CKA map is computed from."""
    batch_clips: Annotated[int, Limits("clips", least=4, most=100_000)] = 64
    """Clips in a batch; the unbiased HSIC needs at least 4."""
    untrained: Backbone | None = new_field(None)

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class ImportedClasses:
    """The classes that a network from elsewhere predicts, in the order of its outputs, and the
    videos that it predicts them for. `data` are the training videos of its students.
    """

    names: tuple[str, ...]
    data: Subset
    view: View
    evaluation: Evaluation

    def rows_of(self, wanted: Sequence[str]) -> list[int]:
        """The output of each class of `wanted`, matched by name: letters and digits count, and
        their case does not. Outputs of other classes are not used.

        Raises:
            UserError: a class is not among the names, or is there twice.
        """
        rows: dict[str, list[int]] = {}
        for row, name in enumerate(self.names):
            rows.setdefault(_plain(name), []).append(row)
        missing = [name for name in wanted if _plain(name) not in rows]
        if missing:
            few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
            raise UserError(
                f"classes: {len(missing)} of the {len(wanted)} classes of {self.data.dataset} are "
                f"not among the {len(self.names)} names: {few}. Write them as the data set does, "
                "or leave classes out, and the network is fine-tuned."
            )
        doubled = next((name for name in wanted if len(rows[_plain(name)]) > 1), None)
        if doubled:
            raise UserError(f"classes: {doubled} is there twice. Name each class once.")
        return [rows[_plain(name)][0] for name in wanted]


def _plain(name: str) -> str:
    """A class name without its case, spaces and punctuation."""
    return re.sub(r"[\W_]+", "", name.casefold())


@dataclass(frozen=True, kw_only=True)
class Import:
    """A network that was trained elsewhere, or its outputs: one file, checked and not trained.

    Without `classifier` it is a backbone, which a teacher is fine-tuned from. Without `backbone` it
    is a table of logits, of a network that kdbatch cannot run.
    """

    kind: Literal["import"] = "import"
    sha256: str
    """The file's sha256, so that another file is another run."""
    backbone: Backbone | None = None
    keys: tuple[tuple[str, str | None], ...] = ()
    """Beginnings of the names in the file, and what replaces them; None leaves the tensors out."""
    classifier: ImportedClasses | None = None

    def __post_init__(self) -> None:
        if self.backbone is None and self.classifier is None:
            raise UserError("classifier: outputs need the names of their classes.")


Recipe = Import | Pretrain | Finetune | Distill | Retrieve | Compare
RECIPE_KINDS = ("import", "pretrain", "finetune", "distill", "retrieve", "compare")


def subsets_of(recipe: Recipe) -> tuple[Subset, ...]:
    """The videos that a run reads: those that it is trained on or shown, then its test videos."""
    if isinstance(recipe, Import):
        known = recipe.classifier
        return (known.data, known.evaluation.test) if known else ()
    if isinstance(recipe, Pretrain | Compare):
        return (recipe.data,)
    return recipe.data, recipe.evaluation.test


def installed_code(recipe: Recipe) -> tuple[Code, ...]:
    """The code of other distributions that a recipe names.

    Raises:
        UserError: an installed name is there twice.
    """
    backbone = getattr(recipe, "backbone", None) or getattr(recipe, "untrained", None)
    found = [BACKBONE_SPECS.code_of(backbone.kind)] if backbone else []
    if isinstance(recipe, Pretrain):
        found.append(TASKS.code_of(recipe.task.name))
    if isinstance(recipe, Distill):
        found += [LOSS_SPECS.code_of(recipe.loss), WEIGHTING_SPECS.code_of(recipe.weighting)]
    return tuple(sorted({code for code in found if code}))
