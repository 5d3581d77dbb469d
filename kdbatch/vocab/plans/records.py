"""Submitted plans in `runs/plans/`: what each declares; which run has which role in which case."""

import contextlib
import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.command_lines import shell_line, submit_command
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import Identity, identity_of, paths_in
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import Count, Limits, OneLine, SameAs
from kdbatch.base.reading.file_names import check_plain_name
from kdbatch.vocab.plans.declarations import Claim, Map, Table, Untestable
from kdbatch.vocab.runs.run import OUTSIDE, Run
from kdbatch.vocab.views import ClipRates


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Run `run_id` has the role `role` (T1, student, labels_only, map:...) in `case` (axis ->
    value) with `seed`, trained and tested on `fold` of its target.
    """

    role: str
    case: dict[str, str]
    seed: Annotated[int, SameAs(Run, "seed")]
    run_id: str
    fold: Annotated[int, Limits("fold", least=1, most=99)] = 1

    def __post_init__(self) -> None:
        check_plain_name(self.run_id, where="run_id")


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """How an experiment was submitted. `file` is its file as it was typed, relative to the folder
    of the study unless it is absolute; `local` is whether the runs went to the local queue, `jobs`
    its --jobs, 0 for none.
    """

    file: str
    local: bool
    jobs: Count = 0


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run of a submitted plan: what is shown of it when its folder is gone, and the hours of all
    of its devices together that it was expected to take; plans of older versions lack these.
    """

    id: str
    title: str
    kind: str
    device_hours: Annotated[float | None, Limits("hours", least=0, most=10**30)] = None

    def __post_init__(self) -> None:
        check_plain_name(self.id, where="id")


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """`runs/plans/<experiment>.<profile>.json`: what one submitted experiment declares.

    `roles` maps a role to its title, `axes` an axis to its values in order. `references` are the
    roles that the student is compared with but does not learn from; `note` is the limitation of
    this profile's numbers. `source` is the name of the experiment's file.

    `runs` are all runs that it needs, parents before children, `rates` the frame rates of their
    videos. Files of older versions lack them, and how the experiment was `submitted`.
    """

    experiment: str
    title: str
    profile: str
    source: str
    axes: dict[str, tuple[str, ...]]
    roles: dict[str, str]
    tables: tuple[Table, ...]
    maps: tuple[Map, ...]
    claims: tuple[Claim, ...]
    cells: tuple[Cell, ...]
    references: tuple[str, ...] = ()
    note: str = ""
    untestable: tuple[Untestable, ...] = ()
    runs: tuple[RecordedRun, ...] = ()
    rates: tuple[ClipRates, ...] = ()
    submitted: Submitted | None = None
    question: OneLine = ""
    """Question that the experiment answers, in one sentence."""
    sources: tuple[OneLine, ...] = ()
    """Papers whose claims it checks: arXiv:2306.06010, doi:10.2307/4615733; none for a study of
    its own.
    """
    titles: dict[str, OneLine] = field(default_factory=dict)
    """Titles of values of axes: of the study's own data sets, and of networks and tasks of other
    packages. Those that kdbatch has itself are not among them, nor in files of older versions.
    """

    def __post_init__(self) -> None:
        check_plain_name(self.experiment, where="experiment")
        check_plain_name(self.profile, where="profile")

    @property
    def is_outside(self) -> bool:
        """Whether another trainer makes its runs."""
        return any(run.kind == OUTSIDE for run in self.runs)

    def cells_of(self, role: str) -> tuple[Cell, ...]:
        """The cells of a role, in their order."""
        return self._cells_by_role.get(role, ())

    def cells_by_case(self, role: str) -> tuple[tuple[tuple[int, Cell], ...], ...]:
        """The cells of a role, with their places among them, in one tuple for each case."""
        return self._cells_by_role_and_case.get(role, ())

    @cached_property
    def _cells_by_role_and_case(self) -> dict[str, tuple[tuple[tuple[int, Cell], ...], ...]]:
        found: dict[str, tuple[tuple[tuple[int, Cell], ...], ...]] = {}
        for role, cells in self._cells_by_role.items():
            by_case: dict[tuple[tuple[str, str], ...], list[tuple[int, Cell]]] = {}
            for i, cell in enumerate(cells):
                by_case.setdefault(tuple(cell.case.items()), []).append((i, cell))
            found[role] = tuple(map(tuple, by_case.values()))
        return found

    @cached_property
    def _cells_by_role(self) -> dict[str, tuple[Cell, ...]]:
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.role, []).append(cell)
        return {role: tuple(cells) for role, cells in found.items()}


def save_record(runs_dir: Path, record: PlanRecord) -> Path:
    """Write the record under `runs_dir`, unless it is there already, and return its path."""
    path = runs_dir / "plans" / _file_name(record)
    with contextlib.suppress(UserError):
        if load_plan_record(path) == record:
            return path
    write_json(path, dataclasses.asdict(record))
    return path


def load_records(runs_dir: Path) -> tuple[PlanRecord, ...]:
    """Every plan that was submitted, by name.

    Raises:
        UserError: nothing was submitted yet, or a record is damaged.
    """
    records = find_records(runs_dir)
    if not records:
        raise UserError(
            f"{runs_dir}/plans holds no plan: nothing was submitted yet. "
            f"Start with: {submit_command(['jobs/subset_size.yaml'], profile='paper')}"
        )
    return records


def find_records(runs_dir: Path) -> tuple[PlanRecord, ...]:
    """Every plan that was submitted, by name; there may be none.

    Raises:
        UserError: a record is damaged, or (UnreadableError) cannot be read.
    """
    return tuple(load_plan_record(path) for path in record_paths(runs_dir))


def record_paths(runs_dir: Path) -> list[Path]:
    """The files of the submitted plans, by name.

    Raises:
        UnreadableError: their folder cannot be read.
    """
    return paths_in(runs_dir / "plans", ".json")


_READ: dict[Path, tuple[Identity | None, PlanRecord]] = {}


def load_plan_record(path: Path) -> PlanRecord:
    """The plan in a file; errors as of find_records. A file that was read is read again when it was
    replaced: that of 20,000 runs takes a second.

    A copy under another name would count its study twice, or in place of another.
    """
    identity = identity_of(path)
    known = _READ.get(path)
    if known and identity == known[0]:
        return known[1]
    record = parse(PlanRecord, load_json(path), where=str(path))
    if path.name != _file_name(record):
        raise UserError(
            f"{path}: is the plan {_file_name(record)} under another name. "
            f"Move it out of the folder: {shell_line('mv', path, path.parent.parent)}"
        )
    _READ[path] = (identity, record)
    return record


def _file_name(record: PlanRecord) -> str:
    return f"{record.experiment}.{record.profile}.json"
