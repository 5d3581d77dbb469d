"""Leaves runs that failed before out of a plan, as they are only started with --retry-failed."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kdbatch.launch.run_folders import waves_without
from kdbatch.launch.run_status import RunRow
from kdbatch.vocab.plans import Plan


@dataclass(frozen=True, kw_only=True)
class FailedExcluded:
    """The plan without the runs that failed before and without their descendants; the rows of those
    runs, and the descendants' ids.
    """

    plan: Plan
    failed: tuple[RunRow, ...]
    waiting: tuple[str, ...]


def exclude_failed(plan: Plan, rows: Iterable[RunRow]) -> FailedExcluded:
    """Leave the failed runs out of the plan. `rows` are the states of all runs, also of other
    plans.
    """
    failed_rows = {row.run_id: row for row in rows if row.state == "failed"}
    failed = tuple(failed_rows[p.run.id] for p in plan.runs if p.run.id in failed_rows)
    excluded = {row.run_id for row in failed}
    waiting: list[str] = []
    for planned in plan.runs:  # parents come before children
        has_excluded_parent = not excluded.isdisjoint(planned.run.parents)
        if planned.run.id not in excluded and not planned.done and has_excluded_parent:
            excluded.add(planned.run.id)
            waiting.append(planned.run.id)
    kept = replace(
        plan,
        runs=tuple(p for p in plan.runs if p.run.id not in excluded),
        waves=waves_without(plan, excluded),
    )
    return FailedExcluded(plan=kept, failed=failed, waiting=tuple(waiting))
