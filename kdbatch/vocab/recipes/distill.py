"""The recipe of a student."""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from kdbatch.base.digests.hashed_fields import new_field
from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.reading.field_facts import Limits, OneLine, check_limits
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.distillation.feature_layers import FEATURE_LOSS_NAMES, parse_layers
from kdbatch.vocab.distillation.losses import LOSS_SPECS, TermWeight, check_terms
from kdbatch.vocab.distillation.weightings import WEIGHTING_SPECS
from kdbatch.vocab.recipes.evaluation import Evaluation, Selection
from kdbatch.vocab.recipes.finetune import VideosPerClass
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import View

NO_WEIGHTING = "none"
"""The weighting of a student without teachers."""


def check_weighting(name: str) -> None:
    """Raise a UserError with the known names if there is no such weighting."""
    if name != NO_WEIGHTING:
        lookup(WEIGHTING_SPECS, name, where="weighting")


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
