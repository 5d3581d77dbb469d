"""The state of a run at one moment, as a tracker shows it, read from the files of its folder."""

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.result.read import read_curves, read_rows
from kdbatch.vocab.plans.records import load_records
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.status import RunState, Status, load_status

Scalar = bool | int | float | str


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One point of a curve. `at` is in seconds since 1970, estimated from the time per step."""

    name: str
    step: int
    value: float
    at: float


@dataclass(frozen=True, kw_only=True)
class RunSnapshot:
    """A run that has started. `curves` are sorted by step; `measures` are its final numbers.

    `parameters` are the fields of its recipe, its seed and its parents, nested names joined by
    dots; `experiments` name the plans that give it a role, and `roles` those roles.
    """

    run_id: str
    title: str
    kind: str
    state: RunState
    status: Status
    parameters: Mapping[str, Scalar]
    experiments: tuple[str, ...]
    roles: tuple[str, ...]
    curves: tuple[CurvePoint, ...]
    measures: Mapping[str, float]
    warnings: tuple[str, ...]

    @property
    def started_at(self) -> float:
        """The end of its last attempt minus the seconds of all attempts."""
        return self.status.heartbeat_at - self.status.seconds


@dataclass(frozen=True, kw_only=True)
class RunLabels:
    """The experiments and roles of each run, by run id."""

    experiments: Mapping[str, tuple[str, ...]]
    roles: Mapping[str, tuple[str, ...]]


def has_started(folder: RunFolder) -> bool:
    """Whether a worker has ever worked on the run.

    Raises:
        UnreadableError: that cannot be known.
    """
    status = load_status(folder.status)
    return folder.is_done() or (status is not None and status.attempt > 0)


def load_labels(runs_dir: Path) -> RunLabels:
    """Read the labels of all runs from the submitted plans; none where a plan cannot be read."""
    experiments: dict[str, dict[str, None]] = {}
    roles: dict[str, dict[str, None]] = {}
    try:
        records = load_records(runs_dir)
    except UserError:  # `kdbatch status` and `kdbatch report` report it
        records = ()
    for record in records:
        for cell in record.cells:
            case = ", ".join(f"{axis}={value}" for axis, value in cell.case.items())
            role = f"{cell.role} ({case})" if case else cell.role
            name = f"{record.experiment}.{record.profile}"
            experiments.setdefault(cell.run_id, {})[name] = None
            roles.setdefault(cell.run_id, {})[f"{record.experiment}: {role}"] = None
    return RunLabels(
        experiments={run_id: tuple(names) for run_id, names in experiments.items()},
        roles={run_id: tuple(names) for run_id, names in roles.items()},
    )


def load_snapshot(folder: RunFolder, state: RunState, labels: RunLabels) -> RunSnapshot:
    """Read the snapshot of a run that has started, in whatever state it is.

    Raises:
        UserError: its `run.json` is damaged.
    """
    assignment = folder.load()
    status = load_status(folder.status) or Status(state="running")
    curves = read_curves(folder.path.parent, [folder.id], finished_only=False)
    rows = read_rows(folder.path.parent, [folder.id])
    points = curves.frame.drop_nulls(["name", "step", "value"]).sort("step", maintain_order=True)
    return RunSnapshot(
        run_id=folder.id,
        title=assignment.title,
        kind=assignment.run.recipe.kind,
        state=state,
        status=status,
        parameters=_parameters(assignment),
        experiments=labels.experiments.get(folder.id, ()),
        roles=labels.roles.get(folder.id, ()),
        curves=tuple(
            CurvePoint(name=name, step=step, value=value, at=_time_of(step, status))
            for name, step, value in points.select("name", "step", "value").iter_rows()
        ),
        measures=_measures(rows.frame.drop_nulls(["name", "value"]).to_dicts()),
        warnings=(*curves.warnings, *rows.warnings),
    )


def _time_of(step: int, status: Status) -> float:
    """The time of a step, if all steps took as long: files have no time per point."""
    if status.step <= 0:
        return status.heartbeat_at
    share = min(1.0, step / status.step)
    return status.heartbeat_at - status.seconds * (1 - share)


def _measures(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The final numbers by name; a name that was measured on several subsets has them in it."""
    counts = Counter(row["name"] for row in rows)
    measures = {}
    for row in rows:
        name = row["name"]
        if counts[name] > 1 and row["subset"]:
            name = f"{name}/{row['subset'].replace('/', '-')}"
        measures[name] = row["value"]
    return measures


def _parameters(assignment: Assignment) -> dict[str, Scalar]:
    run = assignment.run
    recipe = dict(_flat(dataclasses.asdict(run.recipe)))
    return {**recipe, "seed": run.seed, "parents": ", ".join(run.parents)}


def _flat(fields: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Scalar]]:
    """The leaves of nested fields, lists as JSON; a field that is not set is left out."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, bool | int | float | str):
            yield f"{prefix}{name}", value
        elif value is not None:
            yield f"{prefix}{name}", json.dumps(value)
