"""The costs of each experiment: device-hours, those that were lost, idle time, energy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbatch.launch.run_groups import RunGroup
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.done import load_done
from kdbatch.vocab.runs.folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The costs of the runs of an experiment that no experiment before it needs.

    `lost_hours` are those of `device_hours` that attempts took whose work is in no checkpoint.
    `idle_percent` is the share of training in which the device had nothing of a step to do, the
    mean of the runs that are done, by their hours. It and the energy are None where nothing was
    measured; `measured_runs` tells of how many runs the energy is.
    """

    experiment: str
    runs: int
    done: int
    device_hours: float
    lost_hours: float
    idle_percent: float | None
    energy_kwh: float | None
    measured_runs: int


def costs_of(groups: Sequence[RunGroup], runs_dir: Path) -> tuple[Costs, ...]:
    """The costs of each group, and of all if there are several. Reads the record of each run that
    is done.
    """
    idle = {
        row.run_id: percent
        for group in groups
        for row in group.rows
        if row.state == "done" and (percent := _idle_percent(runs_dir, row)) is not None
    }
    everything = [row for group in groups for row in group.rows]
    parts = [_costs(group.name or "of no submitted plan", group.rows, idle) for group in groups]
    return (*parts, _costs("all", everything, idle)) if len(parts) > 1 else tuple(parts)


def _costs(name: str, rows: Sequence[RunRow], idle: dict[str, float]) -> Costs:
    weights = {row.run_id: row.device_hours for row in rows if row.run_id in idle}
    hours = sum(weights.values())
    energies = [row.energy_kwh for row in rows if row.energy_kwh is not None]
    return Costs(
        experiment=name,
        runs=len(rows),
        done=sum(row.state == "done" for row in rows),
        device_hours=round(sum(row.device_hours for row in rows), 4),
        lost_hours=round(sum(row.lost_hours for row in rows), 4),
        idle_percent=sum(idle[i] * each for i, each in weights.items()) / hours if hours else None,
        energy_kwh=round(sum(energies), 4) if energies else None,
        measured_runs=len(energies),
    )


def _idle_percent(runs_dir: Path, row: RunRow) -> float | None:
    done = load_done(RunFolder(runs_dir / row.run_id).done, warn=lambda _: None)
    return done.facts.idle_percent if done else None
