"""The content of an experiment file as values: teachers, students, cases, probes and claims."""

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import Limits, OneLine, SameAs, check_limits
from kdbatch.base.reading.field_types import TextOrNumber
from kdbatch.base.reading.shown_values import shown
from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.distillation.losses import TermWeight, check_terms, terms_of
from kdbatch.vocab.plans.declarations import Claim, Map, Table, Untestable
from kdbatch.vocab.recipes.distill import Distill, check_weighting
from kdbatch.vocab.recipes.finetune import Finetune, VideosPerClass
from kdbatch.vocab.tasks import TASKS, Complexity
from kdbatch.vocab.views import View

Probe = Literal["retrieval", "linear"]
PROBE_TITLES: dict[Probe, str] = {
    "retrieval": "pretrained features, retrieval",
    "linear": "pretrained features, linear probe",
}


BackboneName = Annotated[str, Limits(choices=tuple(BACKBONE_SPECS.built_in))]
DatasetName = OneLine
"""Name of a published data set, or of one in kdbatch.toml."""
TaskName = Annotated[str, Limits(choices=tuple(TASKS.built_in))]
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
    """A network pretrained without labels (or not at all), then fine-tuned on the target; or one
    from elsewhere.
    """

    title: OneLine
    """Name of the network in tables and figures."""
    backbone: BackboneName = ""
    """Architecture; only a teacher that is a file of outputs has none."""
    target: DatasetName
    """Data set that the network is fine-tuned and tested on."""
    pretrain: PretrainSpec | None = None
    """Pretraining; without it the network starts from random weights."""
    weights: OneLine = ""
    """File with the weights of a network trained elsewhere, in the folder of kdbatch.toml:
    safetensors, or tensors that torch.save wrote. The network starts from them.
    """
    outputs: OneLine = ""
    """Parquet file with the logits of a network that kdbatch cannot run, for each video of the
    target: columns split, key, view and logit_K (docs/RESULTS_SCHEMA.md).
    """
    sha256: OneLine = ""
    """The sha256 of that file, so that another file under its name is noticed."""
    keys: dict[str, str | None] = field(default_factory=dict, hash=False)
    """Beginnings of the names of tensors in the file of weights, and what replaces them:
    module.: "" removes one, head.: fc. names the head, projector.: null leaves tensors out.
    """
    classes: OneLine = ""
    """Text file with the classes that the weights or outputs predict, one a line in their order:
    the network is a teacher as it is, and is not fine-tuned. Those of the target are found by name.
    """
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

    @property
    def file_field(self) -> str:
        """The field that names its file; empty for a network that is not from elsewhere."""
        return "weights" if self.weights else "outputs" if self.outputs else ""

    @property
    def is_ready(self) -> bool:
        """Whether it is from elsewhere and is not fine-tuned."""
        return bool(self.file_field and self.classes)

    @property
    def is_pretrained(self) -> bool:
        """Whether its backbone has weights before it is fine-tuned."""
        return self.pretrain is not None or bool(self.weights and not self.classes)

    def __post_init__(self) -> None:
        check_limits(self)
        if not self.backbone and not self.outputs:
            raise UserError(
                "backbone: is missing. Write the architecture; only a teacher with outputs has none"
            )
        self._check_file()

    def _check_file(self) -> None:
        """Refuse fields that would be ignored, and files without the fields that they need."""
        of_fine_tuning = {
            "crop": self.crop != "profile",
            "videos_per_class": bool(self.videos_per_class),
            "shuffled_labels": self.shuffled_labels,
            "schedule": bool(self.schedule),
            "augment": bool(self.augment),
        }
        of_file = {name: bool(getattr(self, name)) for name in ("sha256", "keys", "classes")}
        own = {"pretrain": self.pretrain is not None, "backbone": bool(self.backbone)}
        if not self.file_field:
            refused, of = of_file, "a network without weights or outputs"
        elif self.outputs:
            more = {"weights": bool(self.weights), "keys": bool(self.keys)}
            refused, of = own | more | of_fine_tuning, "outputs, which are used as they are"
        else:
            refused = {"pretrain": own["pretrain"]} | (of_fine_tuning if self.classes else {})
            of = "weights that are used as they are" if self.classes else "weights"
        if unused := [name for name, is_given in refused.items() if is_given]:
            raise UserError(f"{unused[0]}: does not go with {of}. Leave it out.")
        if self.outputs and not self.classes:
            raise UserError("classes: is missing. Outputs need a file with the names of classes.")
        if self.sha256 and not re.fullmatch("[0-9a-f]{64}", self.sha256):
            raise UserError("sha256: expected 64 digits from 0 to f, as sha256sum prints them.")


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
        check_terms(self.loss, self.loss_terms or terms_of(self.loss))
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
    question: str = ""
    sources: tuple[str, ...] = ()

    @property
    def roles(self) -> dict[str, str]:
        """Role -> title, in the order of the file."""
        first = self.cases[0]
        titles = {name: spec.title for name, spec in (first.teachers | first.students).items()}
        probes = {
            f"{role}.{probe}": f"{spec.title}, {PROBE_TITLES[probe]}"
            for role, spec in first.teachers.items()
            for probe in self.probes
            if spec.is_pretrained
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
            f"{where}: {shown(text)} has no seed offset after the @. Write for example "
            f"{role[:40] or 'T1'}@1."
        )
    return role, int(offset or 0)
