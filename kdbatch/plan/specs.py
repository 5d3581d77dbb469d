"""The content of an experiment file as values: teachers, students, cases, probes and claims."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from kdbatch.base.errors import UserError
from kdbatch.base.parse import TextOrNumber
from kdbatch.base.reading.field_facts import Limits, OneLine, SameAs, check_limits
from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.distillation.losses import TermWeight, check_terms
from kdbatch.vocab.plans import Claim, Map, Table, Untestable
from kdbatch.vocab.recipes import Distill, Finetune, VideosPerClass, check_weighting
from kdbatch.vocab.tasks import TASKS, Complexity
from kdbatch.vocab.views import View

Probe = Literal["retrieval", "linear"]
PROBE_TITLES: dict[Probe, str] = {
    "retrieval": "pretrained features, retrieval",
    "linear": "pretrained features, linear probe",
}


BackboneName = Annotated[str, Limits(choices=tuple(BACKBONE_SPECS))]
DatasetName = OneLine
"""Name of a published data set, or of one in kdbatch.toml."""
TaskName = Annotated[str, Limits(choices=tuple(TASKS))]
TargetCrop = Literal["profile", "random-resized", "random", "center"]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The timeline of an experiment's clips, in place of the profile's."""

    fps: Annotated[float | None, SameAs(View, "fps")] = None
    stride_frames: Annotated[int | None, SameAs(View, "stride_frames")] = None

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class PretrainSpec:
    """A pretext task on the first videos of a data set."""

    task: TaskName
    """Pretext task."""
    complexity: Complexity = 1
    """Step of the task's ladder."""
    dataset: DatasetName
    """Data set, whose labels are not used."""
    subset: TextOrNumber
    """Size of the subset, the first videos in storage order: 50k, 2000, 10% or all."""
    without: tuple[OneLine, ...] = ()
    """Lists that `kdbatch shard overlap` wrote, in the folder of kdbatch.toml: their videos are
    left out of the subset. A pretraining without any has those of the profile.
    """
    schedule: dict[str, Any] = field(default_factory=dict)
    """Fields of the profile's `pretrain` that differ here, such as epochs, lr_factor or colours."""
    augment: dict[str, Any] = field(default_factory=dict)
    """Fields of the task's augmentation that differ here, such as jitter_probability."""


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """A network pretrained without labels (or not at all), then fine-tuned on the target."""

    title: OneLine
    """Name of the network in tables and figures."""
    backbone: BackboneName
    """Architecture."""
    target: DatasetName
    """Data set that the network is fine-tuned and tested on."""
    pretrain: PretrainSpec | None = None
    """Pretraining; without it the network starts from random weights."""
    crop: TargetCrop = "profile"
    """Crop of its training clips; profile: that of the profile's `finetune_crop`."""
    videos_per_class: Annotated[VideosPerClass, SameAs(Finetune, "videos_per_class")] = (
        Finetune.videos_per_class
    )
    shuffled_labels: Annotated[bool, SameAs(Finetune, "shuffled_labels")] = Finetune.shuffled_labels
    schedule: dict[str, Any] = field(default_factory=dict)
    """Fields of the profile's `finetune` that differ for this network, such as epochs or lr."""
    augment: dict[str, Any] = field(default_factory=dict)
    """Fields of the target's augmentation that differ for this network, such as flip_probability or
    min_area; `crop` has a field of its own.
    """

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class StudentSpec:
    """A network trained on the target's labels and the softened predictions of its teachers."""

    title: Annotated[OneLine, SameAs(TeacherSpec, "title")]
    backbone: Annotated[BackboneName, SameAs(TeacherSpec, "backbone")]
    target: DatasetName
    """Data set that the network is trained and tested on, that of its teachers."""
    teachers: tuple[str, ...]
    """Roles of its teachers; without any it is trained on labels only. T1@2 is T1 trained with a
    seed that is larger by two, so that [T1, T1@1] differ in their seed alone.
    """
    weighting: Annotated[str, SameAs(Distill, "weighting")] = Distill.weighting
    temperature: Annotated[float, SameAs(Distill, "temperature")] = Distill.temperature
    hard_weight: Annotated[float, SameAs(Distill, "hard_weight")] = Distill.hard_weight
    soft_weight: Annotated[float, SameAs(Distill, "soft_weight")] = Distill.soft_weight
    max_teacher_weight: Annotated[float, SameAs(Distill, "max_teacher_weight")] = (
        Distill.max_teacher_weight
    )
    feature_weight: Annotated[float, SameAs(Distill, "feature_weight")] = Distill.feature_weight
    soft_target: Annotated[
        Literal["teachers", "smoothed-labels"], SameAs(Distill, "soft_target")
    ] = Distill.soft_target
    loss: Annotated[str, SameAs(Distill, "loss")] = Distill.loss
    loss_terms: Annotated[tuple[TermWeight, ...], SameAs(Distill, "loss_terms")] = (
        Distill.loss_terms
    )
    standardized_logits: Annotated[bool, SameAs(Distill, "standardized_logits")] = (
        Distill.standardized_logits
    )
    label_smoothing: Annotated[float, SameAs(Distill, "label_smoothing")] = Distill.label_smoothing
    teacher_dropping: Annotated[float, SameAs(Distill, "teacher_dropping")] = (
        Distill.teacher_dropping
    )
    feature_loss: Annotated[str, SameAs(Distill, "feature_loss")] = Distill.feature_loss
    feature_layers: Annotated[tuple[OneLine, ...], SameAs(Distill, "feature_layers")] = (
        Distill.feature_layers
    )
    starts_from: str = ""
    """Role of a teacher of the same backbone: the student starts from the weights that this teacher
    was fine-tuned from. Without it the student starts from random weights.
    """
    accuracy_of: str = ""
    """Role of another student: of the epochs that the profile's `selection` evaluates, the one is
    kept whose accuracy on held-out videos is nearest to that of the other.
    """
    crop: Annotated[TargetCrop, SameAs(TeacherSpec, "crop")] = TeacherSpec.crop
    videos_per_class: Annotated[VideosPerClass, SameAs(Distill, "videos_per_class")] = (
        Distill.videos_per_class
    )
    schedule: dict[str, Any] = field(default_factory=dict)
    """Fields of the profile's `distill` that differ for this network, such as epochs or lr."""
    augment: Annotated[dict[str, Any], SameAs(TeacherSpec, "augment")] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_limits(self)
        check_weighting(self.weighting)
        check_terms(self.loss, self.loss_terms)
        if self.feature_weight and self.soft_target != "teachers":
            raise UserError(
                f"feature_weight: found {self.feature_weight:g} with soft_target: "
                f"{self.soft_target}. Smoothed labels have no feature maps: write 0."
            )


@dataclass(frozen=True, kw_only=True)
class Case:
    """One value of every axis, with the teachers and students that it has."""

    values: dict[str, str]
    teachers: dict[str, TeacherSpec]
    students: dict[str, StudentSpec]
    timeline: Timeline = Timeline()

    @property
    def networks(self) -> dict[str, TeacherSpec | StudentSpec]:
        """All of them, by role."""
        return {**self.teachers, **self.students}


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A whole experiment file, with every case filled in.

    `students` of a case are the student and its controls. A control has the fields of the student,
    except for those that it replaces.
    """

    name: str
    title: str
    source: str
    axes: dict[str, tuple[str, ...]]
    cases: tuple[Case, ...]
    tables: tuple[Table, ...]
    maps: tuple[Map, ...]
    claims: tuple[Claim, ...]
    untestable: tuple[Untestable, ...] = ()
    probes: tuple[Probe, ...] = ()
    references: tuple[str, ...] = ()

    @property
    def roles(self) -> dict[str, str]:
        """Role -> title, in the order of the file."""
        first = self.cases[0]
        titles = {name: spec.title for name, spec in (first.teachers | first.students).items()}
        probes = {
            f"{role}.{probe}": f"{spec.title}, {PROBE_TITLES[probe]}"
            for role, spec in first.teachers.items()
            for probe in self.probes
            if spec.pretrain
        }
        return titles | probes | {f"map:{m.id}": m.title for m in self.maps}

    def is_for_maps(self, role: str) -> bool:
        """Whether maps are drawn of the role, and neither a table nor a claim names it."""
        in_tables = (row for table in self.tables for row in table.rows)
        in_claims = (name for claim in self.claims for name in (claim.who, *claim.than))
        is_drawn = any(role in drawn.models for drawn in self.maps)
        return is_drawn and role not in {*in_tables, *in_claims}


def parse_teacher(text: str, *, where: str) -> tuple[str, int]:
    """(role, seed offset): `T1@2` is (T1, 2), `T1` is (T1, 0).

    Raises:
        UserError: the text after the @ is no whole number.
    """
    role, at, offset = text.partition("@")
    if at and not (offset.isdecimal() and offset.isascii() and len(offset) <= 6):
        raise UserError(
            f"{where}: {text!r} has no seed offset after the @. Write for example {role or 'T1'}@1."
        )
    return role, int(offset or 0)
