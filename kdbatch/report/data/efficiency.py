"""Accuracy and cost of each role: parameters, multiply-adds, speed, hours, idle share."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from kdbatch.report.data.run_facts import RunFacts
from kdbatch.report.data.study import Study
from kdbatch.report.labels import role_group
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.plans.records import PlanRecord
from kdbatch.vocab.views import View

_TRAINED = ("teacher", "student", "reference", "control")


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """A role with one network, averaged over its cases and seeds; None where a run is missing, or
    did not record it.

    `accuracy` and `idle_percent` are in percent, `gmac` are 10^9 multiply-adds of a clip.
    `device_hours` are those of a run, `total_hours` those with all runs that it learns from.
    `is_on_front`: no other is as accurate at fewer `total_hours`, once all are measured.
    """

    role: str
    title: str
    network: str
    accuracy: float | None
    parameters: float | None
    gmac: float | None
    clips_per_second: float | None
    idle_percent: float | None
    device_hours: float | None
    total_hours: float | None
    run_ids: tuple[str, ...]
    is_on_front: bool = False


def efficiencies(record: PlanRecord, study: Study) -> tuple[Efficiency, ...]:
    """Return the roles that are trained on the target, each with each of its networks."""
    found = []
    for role, title in record.roles.items():
        if role_group(role, record.references) not in _TRAINED:
            continue
        by_network: dict[tuple[Backbone, View], list[RunFacts]] = {}
        for run_id in dict.fromkeys(cell.run_id for cell in record.cells_of(role)):
            facts = study.runs[run_id]
            recipe = facts.run.recipe if facts.run else None
            network, view = getattr(recipe, "backbone", None), getattr(recipe, "view", None)
            if network and view:
                by_network.setdefault((network, view), []).append(facts)
        for (network, view), runs in by_network.items():
            found.append(_efficiency(role, title, network, view, runs, study))
    return _mark_front(found)


def _efficiency(
    role: str, title: str, network: Backbone, view: View, runs: Sequence[RunFacts], study: Study
) -> Efficiency:
    def measured(name: str) -> float | None:
        return _mean(study.value(run.run_id, name) for run in runs)

    def total(run: RunFacts) -> float | None:
        return _sum(study.runs[each].device_hours for each in _with_ancestors(run, study))

    return Efficiency(
        role=role,
        title=title,
        network=network.title,
        accuracy=measured("top1"),
        parameters=measured("parameters"),
        gmac=_gmac(network, view),
        clips_per_second=measured("clips_per_second"),
        idle_percent=_mean(run.done.facts.idle_percent if run.done else None for run in runs),
        device_hours=_mean(run.device_hours if run.done else None for run in runs),
        total_hours=_mean(total(run) if run.done else None for run in runs),
        run_ids=tuple(run.run_id for run in runs),
    )


def _gmac(network: Backbone, view: View) -> float:
    """Those of the layers of a narrow network fall with the square of its width."""
    size = view.num_frames / 16 * (view.size_pixels / 112) ** 2
    return BACKBONE_SPECS[network.kind].gmac_per_clip * network.width**2 * size


def _with_ancestors(run: RunFacts, study: Study) -> set[str]:
    found, waiting = set[str](), [run.run_id]
    while waiting:
        run_id = waiting.pop()
        if run_id not in found:
            found.add(run_id)
            waiting += study.runs[run_id].parents
    return found


def _mark_front(rows: Sequence[Efficiency]) -> tuple[Efficiency, ...]:
    """Mark the rows that no other one dominates; none while a number is missing."""
    points = [(row.total_hours, row.accuracy) for row in rows]
    known = [(hours, accuracy) for hours, accuracy in points if hours and accuracy is not None]
    if len(known) < max(len(rows), 2):
        return tuple(rows)
    marked = []
    for row, (hours, accuracy) in zip(rows, known, strict=True):
        is_beaten = any(
            (h <= hours and a > accuracy) or (h < hours and a >= accuracy) for h, a in known
        )
        marked.append(replace(row, is_on_front=not is_beaten))
    return tuple(marked)


def _mean(values: Iterable[float | None]) -> float | None:
    return _reduce(values, statistics.fmean)


def _sum(values: Iterable[float | None]) -> float | None:
    return _reduce(values, sum)


def _reduce(values: Iterable[float | None], reduce: Callable[[list[float]], float]) -> float | None:
    """None where one of them is, or none is there."""
    listed = list(values)
    known = [value for value in listed if value is not None]
    return reduce(known) if known and len(known) == len(listed) else None
