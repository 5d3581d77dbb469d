"""Reads an experiment file whose runs another trainer makes: roles, cases, tables and claims."""

import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import Limits, OneLine, SameAs, check_limits
from kdbatch.base.reading.field_types import TextOrNumber
from kdbatch.base.reading.places import below
from kdbatch.base.reading.shown_values import shown
from kdbatch.plan.validate import check_ids, check_names
from kdbatch.vocab.plans.declarations import Claim, Table, Untestable
from kdbatch.vocab.plans.records import Cell, PlanRecord, RecordedRun
from kdbatch.vocab.runs.run import OUTSIDE, outside_run_id


@dataclass(frozen=True, kw_only=True)
class OutsideFile:
    """The fields of an experiment file that has `roles` in place of teachers and a student."""

    name: OneLine
    """Name of the experiment, which is that of the file without .yaml."""
    title: OneLine
    """Heading of the experiment in the report."""
    roles: dict[str, OneLine]
    """Titles of the networks, by role: T1, T2 for teachers, student, and any other name for a
    control.
    """
    vary: dict[str, tuple[TextOrNumber, ...]]
    """Axes with their values: there is a run of each role for each combination and seed."""
    seeds: tuple[Annotated[int, Limits("seed", least=0, most=2**32 - 1)], ...]
    """Seeds of the trainings, each once."""
    references: tuple[str, ...] = ()
    """Roles that the student is compared with but does not learn from."""
    tables: tuple[Table, ...] = ()
    """Tables of the report."""
    claims: tuple[Claim, ...] = ()
    """Statements that the report checks, but for those about maps."""
    untestable: tuple[Untestable, ...] = ()
    """Statements that cannot be tested; the report has them with the reason."""
    question: Annotated[OneLine, SameAs(PlanRecord, "question")] = ""
    sources: Annotated[tuple[OneLine, ...], SameAs(PlanRecord, "sources")] = ()

    def __post_init__(self) -> None:
        check_limits(self)
        for name, values in (("seeds", self.seeds), *self.vary.items()):
            if not values or len(set(values)) != len(values):
                raise UserError(f"{name}: name at least one value, each once.")
        for role in self.roles:
            if not re.fullmatch(r"[\w-]+", role):
                raise UserError(
                    f"roles: found {shown(role)}. A role is a word, such as labels_only."
                )


def is_outside(raw: dict[str, Any]) -> bool:
    """Whether an experiment file says that another trainer makes its runs: it has roles or seeds,
    and no student. A profile has seeds, too, and no name.
    """
    return "student" not in raw and ("roles" in raw or {"seeds", "name"} <= raw.keys())


def outside_record(path: Path, raw: dict[str, Any], *, profile: str) -> PlanRecord:
    """The record of such an experiment, with a run for each role, case and seed.

    Raises:
        UserError: a mistake in the file; the message names the field.
    """
    where = str(path)
    file = parse(OutsideFile, raw, where=where)
    if file.name != path.stem:
        raise UserError(
            f"{below(where, 'name')}: found {file.name!r}; the name must be that of the file: "
            f"{path.stem}."
        )
    check_names(file.tables, file.claims, roles=file.roles, axes=file.vary, where=where)
    check_ids(file.tables, file.claims, where=where)
    cases = [dict(zip(file.vary, values, strict=True)) for values in product(*file.vary.values())]
    cells = tuple(
        Cell(
            role=role,
            case=case,
            seed=seed,
            run_id=outside_run_id(file.name, role, case, seed=seed),
        )
        for seed in file.seeds
        for case in cases
        for role in file.roles
    )
    return PlanRecord(
        experiment=file.name,
        title=file.title,
        profile=profile,
        source=path.name,
        question=file.question,
        sources=file.sources,
        axes=file.vary,
        roles=file.roles,
        tables=file.tables,
        maps=(),
        claims=file.claims,
        cells=cells,
        references=file.references,
        untestable=file.untestable,
        runs=tuple(
            RecordedRun(id=cell.run_id, title=_title(file, cell), kind=OUTSIDE) for cell in cells
        ),
    )


def _title(file: OutsideFile, cell: Cell) -> str:
    return f"{file.roles[cell.role]} at {', '.join(cell.case.values())}, seed {cell.seed}"
