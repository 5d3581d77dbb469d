"""Chooses rows of runs, groups them by the experiment that needs them, estimates the time left."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from kdbatch.base.command_lines import status_command
from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.study_folder import find_study
from kdbatch.launch.saved_plans import choose_records, recorded_runs
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.records import PlanRecord
from kdbatch.vocab.status import RunState

_SEED = re.compile(r", seed \d+$")


class RunChoice:
    """A choice among the runs of a study: those of files and ids that are in given states.

    Raises:
        UserError: there is no such state, or nothing of a file was submitted.
    """

    def __init__(self, what: Sequence[str], *, state: str, profile: str, config: Config) -> None:
        known = {name: name for name in get_args(RunState)}
        self._states = {
            lookup(known, name.strip(), where="status --state")
            for name in state.split(",")
            if name.strip()
        }
        files = [Path(text) for text in what if _is_file(text)]
        self._prefixes = [text for text in what if not _is_file(text)]
        self._ids: set[str] = set()
        if files or (profile and not self._prefixes):
            for record in choose_records(
                config.runs_dir, files, profile=profile, study=find_study()
            ):
                self._ids |= {run.id for run in recorded_runs(record)}
        self._names_runs = bool(what or profile)
        self.is_one_run = len(what) == 1 and not files

    @property
    def is_all(self) -> bool:
        """Whether nothing was named, so that every run is chosen."""
        return not self._names_runs and not self._states

    def of(self, rows: Sequence[RunRow]) -> tuple[RunRow, ...]:
        """The chosen ones of these rows.

        Raises:
            UserError: the id of no run begins as asked for.
        """
        ids = set(self._ids)
        for text in self._prefixes:
            found = {row.run_id for row in rows if row.run_id.startswith((text, f"r{text}"))}
            if not found:
                raise UserError(f"No run id begins with {text!r}. See all: {status_command()}")
            ids |= found
        return tuple(
            row
            for row in rows
            if (not self._names_runs or row.run_id in ids)
            and (not self._states or row.state in self._states)
        )


def _is_file(text: str) -> bool:
    return text.endswith((".yaml", ".yml")) or Path(text).is_file()


@dataclass(frozen=True, kw_only=True)
class RunGroup:
    """The runs of one experiment at one profile; without a name, runs of no submitted plan.

    `rows` are those that no group before has, `shared` the others. `labels` maps a run's id to its
    roles and cases; a run of no table or map has none.
    """

    name: str
    rows: tuple[RunRow, ...]
    shared: tuple[RunRow, ...]
    labels: dict[str, str]


def group_by_experiment(
    rows: Sequence[RunRow], records: Iterable[PlanRecord]
) -> tuple[RunGroup, ...]:
    """Each row once: in the group of the first plan that needs it, in that plan's order."""
    groups: list[RunGroup] = []
    row_of = {row.run_id: row for row in rows}
    shown: set[str] = set()
    for record in records:
        own = [row_of[run.id] for run in recorded_runs(record) if run.id in row_of]
        if own:
            groups.append(
                RunGroup(
                    name=f"{record.experiment}.{record.profile}",
                    rows=tuple(row for row in own if row.run_id not in shown),
                    shared=tuple(row for row in own if row.run_id in shown),
                    labels=labels_of(record),
                )
            )
        shown |= {row.run_id for row in own}
    if others := tuple(row for row in rows if row.run_id not in shown):
        groups.append(RunGroup(name="", rows=others, shared=(), labels={}))
    return tuple(groups)


def experiments_of(groups: Iterable[RunGroup]) -> dict[str, list[str]]:
    """The experiments that need each run, as `experiment.profile`."""
    experiments: dict[str, list[str]] = {}
    for group in groups:
        for row in (*group.rows, *group.shared):
            experiments.setdefault(row.run_id, []).extend([group.name] if group.name else [])
    return experiments


def labels_of(record: PlanRecord) -> dict[str, str]:
    """The role and case of each run, such as `student 10k`; axes with one value are left out."""
    axes = [axis for axis, values in record.axes.items() if len(values) > 1]
    has_seeds = len({cell.seed for cell in record.cells}) > 1
    labels: dict[str, list[str]] = {}
    for cell in record.cells:
        words = [cell.role, *(cell.case[axis] for axis in axes if axis in cell.case)]
        if has_seeds:
            words.append(f"seed {cell.seed}")
        labels.setdefault(cell.run_id, []).append(" ".join(words))
    return {
        run_id: found[0] + (f" +{len(found) - 1}" if len(found) > 1 else "")
        for run_id, found in labels.items()
    }


def title_without_seed(row: RunRow) -> str:
    """The title without the seed at its end."""
    return _SEED.sub("", row.title)


def share_done(row: RunRow) -> float:
    """The part of a run that is done, from 0 to 1."""
    if row.state == "done":
        return 1.0
    return row.step / row.num_steps if row.num_steps else 0.0


def seconds_left(rows: Sequence[RunRow]) -> float | None:
    """The estimated time until all runs have ended, from those of their kind that are done.

    As many runs as now are assumed to work at the same time. None where nothing can be estimated.
    """
    running = [row for row in rows if row.state in ("running", "stale")]
    waiting = [row for row in rows if row.state == "queued"]
    if not running and not waiting:
        return None
    means = _mean_seconds(rows)
    overall = sum(means.values()) / len(means) if means else None
    total = 0.0
    for row in (*running, *waiting):
        whole = means.get(row.kind, overall)
        if row.eta_seconds is not None:
            total += row.eta_seconds
        elif whole is None:
            return None
        else:
            total += whole * (1 - share_done(row))
    return total / max(1, len(running))


def _mean_seconds(rows: Sequence[RunRow]) -> dict[str, float]:
    """The mean time of the runs of each kind that are done; of one that runs, its estimate."""
    seconds: dict[str, list[float]] = {}
    for row in rows:
        spent = 3600 * row.device_hours
        if row.state == "done" and spent > 0:
            seconds.setdefault(row.kind, []).append(spent)
    for row in rows:
        if row.kind not in seconds and row.eta_seconds is not None:
            seconds[row.kind] = [3600 * row.device_hours + row.eta_seconds]
    return {kind: sum(found) / len(found) for kind, found in seconds.items()}
