"""The sums of a plan: hours by kind of run and by experiment, wall time, bytes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kdbatch.plan.costs.wall_time import Chain, hours_with, longest_chain
from kdbatch.vocab.plans.plan import DeviceKind, Estimate, Plan, PlannedRun
from kdbatch.vocab.recipes.recipe import RECIPE_KINDS


@dataclass(frozen=True, kw_only=True)
class Total:
    """The sum over some runs; hours and bytes are those of the runs that are not done.

    `num_shared` of the runs are needed by more than one experiment.
    """

    num_runs: int
    num_done: int
    num_shared: int
    device_hours: Mapping[DeviceKind, float]
    read_bytes: float


@dataclass(frozen=True, kw_only=True)
class RateUse:
    """How many runs have a rate of `device`: assumed, or measured on so many finished runs. No
    speed was measured for the networks `unmeasured` of them.
    """

    device: str
    num_runs: int
    min_measured: int
    max_measured: int
    unmeasured: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PlanTotals:
    """The sums of a plan. A run that experiments share counts in each of them.

    `wall_hours` is the time with `num_at_once` runs at a time; `chain` is what no number of devices
    can shorten.
    """

    all_runs: Total
    by_kind: Mapping[str, Total]
    by_experiment: Mapping[str, Total]
    chain: Chain
    num_at_once: int
    wall_hours: float


def total_of(runs: Iterable[PlannedRun]) -> Total:
    """The sum over `runs`."""
    runs = tuple(runs)
    to_do = [planned for planned in runs if not planned.done]
    hours: dict[DeviceKind, float] = {}
    for planned in to_do:
        device = planned.cost.device
        hours[device] = hours.get(device, 0.0) + planned.cost.device_hours
    return Total(
        num_runs=len(runs),
        num_done=len(runs) - len(to_do),
        num_shared=sum(len(planned.used_by) > 1 for planned in runs),
        device_hours=hours,
        read_bytes=sum(planned.cost.read_bytes for planned in to_do),
    )


def plan_totals(plan: Plan, *, num_at_once: int) -> PlanTotals:
    """All sums of a plan whose runs are started `num_at_once` at a time."""
    kinds = [kind for kind in RECIPE_KINDS if any(_is(kind, planned) for planned in plan.runs)]
    return PlanTotals(
        all_runs=total_of(plan.runs),
        by_kind={kind: total_of(p for p in plan.runs if _is(kind, p)) for kind in kinds},
        by_experiment={
            record.experiment: total_of(p for p in plan.runs if record.experiment in p.used_by)
            for record in plan.records
        },
        chain=longest_chain(plan.runs),
        num_at_once=num_at_once,
        wall_hours=hours_with(plan.runs, num_at_once=num_at_once),
    )


def rates_of(runs: Sequence[PlannedRun]) -> tuple[RateUse, ...]:
    """The rates of the runs to do, measured ones and assumed ones by device."""
    groups: dict[tuple[bool, str, bool], list[Estimate]] = {}
    for planned in runs:
        if not planned.done and planned.cost.device_hours:
            cost = planned.cost
            key = (cost.num_measured == 0, cost.device_title, bool(cost.unmeasured))
            groups.setdefault(key, []).append(cost)
    return tuple(
        RateUse(
            device=device,
            num_runs=len(costs),
            min_measured=min(cost.num_measured for cost in costs),
            max_measured=max(cost.num_measured for cost in costs),
            unmeasured=tuple(dict.fromkeys(name for cost in costs for name in cost.unmeasured)),
        )
        for (_, device, _), costs in sorted(groups.items(), key=lambda group: group[0])
    )


def _is(kind: str, planned: PlannedRun) -> bool:
    return planned.run.recipe.kind == kind
