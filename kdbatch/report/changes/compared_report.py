"""The part of a report.json that two reports are compared by."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from kdbatch.base.atomic_write import load_json_object
from kdbatch.base.command_lines import report_command
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import entries_of, is_present
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.parse import parse

REPORT_VERSION = 1
"""Version of report.json, raised where a key that is read here gets another name or meaning."""

T = TypeVar("T")
CaseKey = tuple[tuple[str, str], ...]
CellKey = tuple[str, CaseKey, int, int]
"""Role, case, seed and fold."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """A role in a case of an experiment; of one run, where it has a seed."""

    experiment: str
    profile: str
    role: str
    case: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Number(Place):
    """A number of a table."""

    metric: str
    group: str
    mean: float | None
    sd: float | None
    seeds_done: int
    seeds_planned: int


@dataclass(frozen=True, kw_only=True)
class ClaimOutcome:
    """A claim as its file states it, and what was found. `roles` are those that it compares."""

    experiment: str
    profile: str
    claim: dict[str, Any]
    roles: tuple[str, ...]
    verdict: str
    corrected_verdict: str
    effect: float | None
    interval_95: tuple[float, float] | None
    unit: str
    num_videos: int

    def case_of(self, role: str) -> dict[str, str]:
        """Return the values of axes to which the claim is restricted for a role."""
        than_at = self.claim.get("than_at", {}) if role in self.claim.get("than", ()) else {}
        return {**self.claim.get("at", {}), **than_at}


@dataclass(frozen=True, kw_only=True)
class UsedRun:
    """A run; `recipe` is the index of its recipe, `code` that of other distributions, and
    `results` a digest of what it measured; empty where unknown.
    """

    run_id: str
    kind: str
    state: str
    parents: tuple[str, ...]
    recipe: int | None
    code: tuple[str, ...]
    results: str


@dataclass(frozen=True, kw_only=True)
class UsedCell(Place):
    """The run that has a role in a case, with a seed and a fold."""

    seed: int
    fold: int
    run_id: str


@dataclass(frozen=True, kw_only=True)
class ComparedReport:
    """The numbers, claims and runs of a report; `recipes` have every field as text."""

    statistics: int
    numbers: tuple[Number, ...]
    claims: tuple[ClaimOutcome, ...]
    runs: Mapping[str, UsedRun]
    recipes: tuple[Mapping[str, str], ...]
    cells: tuple[UsedCell, ...]

    def recipe(self, run: UsedRun) -> Mapping[str, str] | None:
        """Return the fields of a run's recipe; None where it is not known."""
        return None if run.recipe is None else self.recipes[run.recipe]

    def done_cells(
        self, place: tuple[str, str], role: str, case: Mapping[str, str]
    ) -> dict[CellKey, UsedRun]:
        """Return the finished runs of a role in the cases that match `case` on all axes that both
        have; `place` is experiment and profile.
        """
        found = {}
        for cell in self._cells_by_role.get((*place, role), ()):
            run = self.runs.get(cell.run_id)
            if run is None or run.state != "done":
                continue
            if all(cell.case.get(axis, value) == value for axis, value in case.items()):
                found[role, tuple(sorted(cell.case.items())), cell.seed, cell.fold] = run
        return found

    @cached_property
    def _cells_by_role(self) -> dict[tuple[str, str, str], list[UsedCell]]:
        found: dict[tuple[str, str, str], list[UsedCell]] = {}
        for cell in self.cells:
            found.setdefault((cell.experiment, cell.profile, cell.role), []).append(cell)
        return found


def load_report(path: Path) -> ComparedReport:
    """Read a report.json.

    Raises:
        UserError: there is none, it is damaged, or another version of kdbatch wrote it.
    """
    again = report_command(against="OLD/report.json")
    if path.is_dir():
        raise UserError(f"{path}: is a folder. Name the report.json in it: {again}")
    if not is_present(path):
        names = [entry.name for entry in entries_of(path.parent)]
        hint = did_you_mean(path.name, names)
        raise UserError(
            f"{path}: there is no such file.{hint} Name the report.json of a report: {again}"
        )
    raw = load_json_object(path, advice="Make that report again, in the folder of its study.")
    return _read_report(raw, where=str(path))


def _read_report(raw: Mapping[str, Any], *, where: str) -> ComparedReport:
    """The same for the contents of a report.json; `where` names it in errors."""
    version = raw.get("version")
    if version != REPORT_VERSION:
        found = "without a version" if version is None else f"of version {version!r}"
        raise UserError(
            f"{where}: is a report {found}; only those of version {REPORT_VERSION} can be "
            "compared. Make it again with this version of kdbatch, in the folder of its study."
        )
    raw = parse(dict[str, Any], raw, where=where)
    lists = {name: _objects(raw, name, where) for name in ("tables", "claims", "runs", "cells")}
    numbers = []
    for table in lists["tables"]:
        for number in _objects(table, "numbers", where):
            numbers.append(_picked(Number, {**table, **number}, f"{where}: tables"))
    runs = [_picked(UsedRun, run, f"{where}: runs") for run in lists["runs"]]
    recipes = parse(tuple[dict[str, str], ...], raw.get("recipes"), where=f"{where}: recipes")
    for run in runs:
        if run.recipe is not None and not 0 <= run.recipe < len(recipes):
            raise UserError(f"{where}: runs: {run.run_id}: its recipe is not there.")
    return ComparedReport(
        statistics=parse(int, raw.get("statistics"), where=f"{where}: statistics"),
        numbers=tuple(numbers),
        claims=tuple(_picked(ClaimOutcome, c, f"{where}: claims") for c in lists["claims"]),
        runs={run.run_id: run for run in runs},
        recipes=recipes,
        cells=tuple(_picked(UsedCell, cell, f"{where}: cells") for cell in lists["cells"]),
    )


def _objects(raw: Mapping[str, Any], name: str, where: str) -> tuple[dict[str, Any], ...]:
    return parse(tuple[dict[str, Any], ...], raw.get(name), where=f"{where}: {name}")


def _picked(cls: type[T], raw: Mapping[str, Any], where: str) -> T:
    """The fields that `cls` has; others are for other readers."""
    names = [field.name for field in dataclasses.fields(cls)]  # pyright: ignore[reportArgumentType]
    return parse(cls, {name: raw[name] for name in names if name in raw}, where=where)
