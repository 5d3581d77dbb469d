"""What an experiment file says, as values: who teaches, who learns, in which cases, what is asked
and claimed.
"""

from dataclasses import dataclass
from typing import Literal

from kdbatch.base.errors import UserError
from kdbatch.vocab.plans import Claim, Map, Table
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
    subset: str


@dataclass(frozen=True, kw_only=True)
class TeacherSpec:
    """A network pretrained without labels (or not at all), then fine-tuned on the target."""

    title: str
    backbone: str
    target: str
    pretrain: PretrainSpec | None = None


@dataclass(frozen=True, kw_only=True)
class StudentSpec:
    """A network trained on the target from labels and the softened predictions of `teachers`;
    without teachers, from labels only.

    `T1@2` is teacher T1 as it is trained two seeds further on, so that `[T1, T1@1]` are two
    teachers of one kind.
    """

    title: str
    backbone: str
    target: str
    teachers: tuple[str, ...]
    weighting: Literal["none", "equal", "ae-kd", "ca-mkd"] = "ae-kd"
    temperature: float = 4.0
    hard_weight: float = 1.0
    soft_weight: float = 0.9
    max_teacher_weight: float = 0.6
    feature_weight: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Case:
    """One choice of every axis, and who plays in it."""

    values: dict[str, str]
    teachers: dict[str, TeacherSpec]
    students: dict[str, StudentSpec]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """The whole file. `students` of a case are the student and its controls: the same fields but
    for those that a control replaces.
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


def parse_teacher(word: str, *, where: str) -> tuple[str, int]:
    """(role, seeds further on): `T1@2` is (T1, 2), `T1` is (T1, 0).

    Raises:
        UserError: what follows the @ is no whole number.
    """
    role, at, ahead = word.partition("@")
    if at and not (ahead.isdecimal() and ahead.isascii() and len(ahead) <= 6):
        raise UserError(
            f"{where}: {word!r} does not say how many seeds further on. Write for example {role or 'T1'}@1."
        )
    return role, int(ahead or 0)
