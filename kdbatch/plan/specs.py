"""The content of an experiment file as values: teachers, students, cases, probes and claims."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from kdbatch.base.errors import UserError
from kdbatch.base.parse import TextOrNumber
from kdbatch.vocab.plans import Claim, Map, Table
from kdbatch.vocab.recipes import Distill, check_weighting
from kdbatch.vocab.tasks import Complexity

Probe = Literal["retrieval", "linear"]
PROBE_TITLES: dict[Probe, str] = {
    "retrieval": "pretrained features, retrieval",
    "linear": "pretrained features, linear probe",
}


@dataclass(frozen=True, kw_only=True)
class PretrainSpec:
    """A pretext task on the first videos of a data set."""

    task: str
    complexity: Complexity = 1
    dataset: str
    subset: TextOrNumber


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """A network pretrained without labels (or not at all), then fine-tuned on the target."""

    title: str
    backbone: str
    target: str
    pretrain: PretrainSpec | None = None


@dataclass(frozen=True, kw_only=True)
class StudentSpec:
    """A network trained on the target's labels and the softened predictions of `teachers`.

    Without teachers it is trained on labels only. `T1@2` is teacher T1 trained with a seed that is
    larger by two, so that `[T1, T1@1]` are two teachers that differ in their seed alone. The other
    fields are those of `Distill`, with its defaults.
    """

    title: str
    backbone: str
    target: str
    teachers: tuple[str, ...]
    weighting: str = Distill.weighting
    temperature: float = Distill.temperature
    hard_weight: float = Distill.hard_weight
    soft_weight: float = Distill.soft_weight
    max_teacher_weight: float = Distill.max_teacher_weight
    feature_weight: float = Distill.feature_weight

    def __post_init__(self) -> None:
        check_weighting(self.weighting)
        if not 0 < self.temperature < inf:
            raise UserError(
                f"temperature: found {self.temperature:g}. Write more than 0; 4 is usual."
            )
        for name in ("hard_weight", "soft_weight"):
            if not 0 <= getattr(self, name) < inf:
                raise UserError(f"{name}: found {getattr(self, name):g}. Write at least 0.")
        if not 0 < self.max_teacher_weight <= 1:
            raise UserError(
                f"max_teacher_weight: found {self.max_teacher_weight:g}. Write more than 0 and at "
                "most 1."
            )


@dataclass(frozen=True, kw_only=True)
class Case:
    """One value of every axis, with the teachers and students that it has."""

    values: dict[str, str]
    teachers: dict[str, TeacherSpec]
    students: dict[str, StudentSpec]


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
