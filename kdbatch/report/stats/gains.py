"""Gains of the student over its teachers and over labels alone: by case, and on average."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from kdbatch.report.data.study import Study, cases_of, matching_cells
from kdbatch.report.labels import role_group
from kdbatch.report.stats.arms import Arm, arms_of
from kdbatch.report.stats.bootstrap import Resampled, SeedDraws
from kdbatch.report.stats.comparisons import Comparison, compare_arms
from kdbatch.report.stats.correctness import resample_runs
from kdbatch.vocab.plans.records import PlanRecord

GAIN_METRIC = "top1"
CONTROL_ROLE = "labels_only"


@dataclass(frozen=True, kw_only=True)
class StudentGain:
    """Gains of the student in one case, or on average; None where a run is missing.

    `over_teachers` is relative to the mean of its teachers, `over_best` to the one that is best
    on the same test videos, `over_control` to training with labels only. `student`, `best` and
    `control` are accuracies, `best_teacher` is a role, empty in an average.
    """

    case: dict[str, str]
    over_teachers: Comparison | None = None
    over_best: Comparison | None = None
    over_control: Comparison | None = None
    student: float | None = None
    best: float | None = None
    control: float | None = None
    best_teacher: str = ""


@dataclass(frozen=True, kw_only=True)
class Gains:
    """The gains of each case, their `average` where there are several, and warnings about files
    that cannot be used.
    """

    cases: tuple[StudentGain, ...]
    average: StudentGain | None
    warnings: tuple[str, ...]

    @property
    def overall(self) -> StudentGain | None:
        """The average, or the gain of the only case."""
        return self.average or (self.cases[0] if len(self.cases) == 1 else None)


def teacher_roles(record: PlanRecord) -> list[str]:
    """Return the roles that a student of the experiment may learn from."""
    return [role for role in record.roles if role_group(role, record.references) == "teacher"]


def gain_runs(record: PlanRecord) -> list[str]:
    """Return the runs whose gains are computed."""
    compared = (*teacher_roles(record), "student", CONTROL_ROLE)
    return [cell.run_id for role in compared for cell in record.cells_of(role)]


def gain_sets(record: PlanRecord, study: Study) -> list[list[str]]:
    """Return the same runs by arm."""
    sides = [_sides(record, study, case) for case in cases_of(record, "student")]
    return [list(arm.runs.values()) for each in sides for arm in each.arms]


def student_gains(record: PlanRecord, study: Study) -> Gains:
    """Return the gains of the student of an experiment."""
    evidence = resample_runs(study, gain_runs(record), metric=GAIN_METRIC)
    draws = SeedDraws()
    sides = [_sides(record, study, case) for case in cases_of(record, "student")]
    cases = tuple(_gain([each], evidence.resampled, draws) for each in sides)
    average = _gain(sides, evidence.resampled, draws) if len(sides) > 1 else None
    return Gains(cases=cases, average=average, warnings=evidence.warnings)


@dataclass(frozen=True, kw_only=True)
class _Sides:
    """The arms (folds) of the student of a case, of its teachers and of its control."""

    case: dict[str, str]
    student: Sequence[Arm]
    teachers: Mapping[str, Sequence[Arm]]
    control: Sequence[Arm]

    @property
    def arms(self) -> list[Arm]:
        return list(chain(self.student, *self.teachers.values(), self.control))

    @property
    def best_teacher(self) -> str:
        """The role of the best teacher; empty unless all are measured."""
        if not self.teachers or None in map(_accuracy, self.teachers.values()):
            return ""
        return max(self.teachers, key=lambda role: _accuracy(self.teachers[role]) or 0.0)

    @property
    def best(self) -> Sequence[Arm]:
        return self.teachers[self.best_teacher] if self.best_teacher else ()


def _sides(record: PlanRecord, study: Study, case: dict[str, str]) -> _Sides:
    def arms(role: str) -> list[Arm]:
        cells = matching_cells(record, role, case)
        return arms_of(cells, title=role, value=lambda run: study.value(run, GAIN_METRIC))

    found = {role: arms(role) for role in teacher_roles(record)}
    teachers = {role: own for role, own in found.items() if own}
    return _Sides(case=case, student=arms("student"), teachers=teachers, control=arms(CONTROL_ROLE))


def _gain(sides: Sequence[_Sides], resampled: Resampled, draws: SeedDraws) -> StudentGain:
    """The gain averaged over these cases."""

    def over(others: Sequence[Sequence[Sequence[Arm]]]) -> Comparison | None:
        return _compare([each.student for each in sides], others, resampled, draws)

    def mean(arms: Sequence[Sequence[Arm]]) -> float | None:
        values = [value for value in map(_accuracy, arms) if value is not None]
        return float(np.mean(values)) if len(values) == len(arms) else None

    is_single = len(sides) == 1
    return StudentGain(
        case=sides[0].case if is_single else {},
        over_teachers=over([list(each.teachers.values()) for each in sides]),
        over_best=over([[each.best] for each in sides]),
        over_control=over([[each.control] for each in sides]),
        student=mean([each.student for each in sides]),
        best=mean([each.best for each in sides]),
        control=mean([each.control for each in sides]),
        best_teacher=sides[0].best_teacher if is_single else "",
    )


def _compare(
    students: Sequence[Sequence[Arm]],
    others: Sequence[Sequence[Sequence[Arm]]],
    resampled: Resampled,
    draws: SeedDraws,
) -> Comparison | None:
    """Return the student minus the mean of other roles, over all cases; None where a case has no
    other role. The arms of a role are its folds.
    """
    weights: dict[Arm, float] = {}
    for student, roles in zip(students, others, strict=True):
        if not roles or not all(roles):
            return None
        for arms, sign in ((student, 1.0), *((arms, -1 / len(roles)) for arms in roles)):
            for arm in arms:
                weights[arm] = sign / len(arms) / len(students)
    return compare_arms("", weights, resampled, draws)


def _accuracy(arms: Sequence[Arm]) -> float | None:
    """The mean of a role in a case; None unless all of its runs are measured."""
    if not arms or not all(arm.is_complete for arm in arms):
        return None
    return float(np.mean([arm.mean for arm in arms]))
