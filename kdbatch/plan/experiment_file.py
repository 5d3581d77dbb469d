"""The fields of an experiment file of jobs/, before each name with a dollar sign is replaced."""

from dataclasses import dataclass, field
from typing import Annotated, Any

from kdbatch.base.reading.field_facts import OneLine, SameAs
from kdbatch.plan.specs import Probe, StudentSpec, TeacherSpec, Timeline
from kdbatch.vocab.plans.declarations import Claim, Map, Table, Untestable
from kdbatch.vocab.plans.records import PlanRecord


@dataclass(frozen=True)
class Filled:
    """Says that a raw value is read as `hint` once each `$name` in it is replaced. With `changes`
    it needs no field: those that it lacks are the student's.
    """

    hint: Any
    changes: bool = False


@dataclass(frozen=True, kw_only=True)
class ExperimentFile:
    """The fields of an experiment file before each `$name` is replaced."""

    name: OneLine
    """Name of the experiment, which is that of the file without .yaml."""
    title: OneLine
    """Heading of the experiment in the report."""
    vary: dict[str, Any]
    """Axes, which every teacher, student and control is made for: a list of values, each of which
    replaces $AXIS, or a mapping of named cases that set several $names each.
    """
    teachers: Annotated[dict[str, Any], Filled(dict[str, TeacherSpec])]
    """Teachers, by role: T1, T2."""
    student: Annotated[dict[str, Any], Filled(StudentSpec)]
    """The student."""
    controls: Annotated[dict[str, Any], Filled(dict[str, StudentSpec], changes=True)] = field(
        default_factory=dict
    )
    """Students to compare with, by role: each has the student's fields, except for those that it
    replaces. One that only maps name is trained in the cases of these maps alone.
    """
    timeline: Annotated[dict[str, Any], Filled(Timeline)] = field(default_factory=dict)
    """Timeline of all clips of the experiment, where it differs from the profile's `clip`."""
    references: Annotated[dict[str, Any], Filled(dict[str, TeacherSpec])] = field(
        default_factory=dict
    )
    """Networks that the student is compared with but does not learn from, by role."""
    probes: tuple[Probe, ...] = ()
    """Measurements of every pretrained teacher before fine-tuning; their roles are T1.retrieval and
    T1.linear.
    """
    tables: tuple[Table, ...] = ()
    """Tables of the report."""
    maps: tuple[Map, ...] = ()
    """CKA maps of the report."""
    claims: tuple[Claim, ...] = ()
    """Statements that the report checks."""
    untestable: tuple[Untestable, ...] = ()
    """Statements that cannot be tested; the report has them with the reason."""
    question: Annotated[OneLine, SameAs(PlanRecord, "question")] = ""
    sources: Annotated[tuple[OneLine, ...], SameAs(PlanRecord, "sources")] = ()
