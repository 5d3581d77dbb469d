"""Leaves out of a plan what failed before, without --retry-failed, and what cannot be read."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kdbatch.launch.run_folders import waves_without
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.plans.plan import Plan


@dataclass(frozen=True, kw_only=True)
class FailedExcluded:
    """The plan without the runs that failed before, without those that cannot be read and may be
    done, and without their descendants; the rows of those runs, and the descendants' ids.
    """

    plan: Plan
    failed: tuple[RunRow, ...]
    unreadable: tuple[RunRow, ...] = ()
    waiting: tuple[str, ...]


def exclude_failed(
    plan: Plan, rows: Iterable[RunRow], *, retry_failed: bool = False
) -> FailedExcluded:
    """Leave runs that failed out of the plan, unless they are to be tried again, and those that
    cannot be read. `rows` are the states of all runs, also of other plans.
    """
    row_of = {row.run_id: row for row in rows}
    to_do = [row_of[p.run.id] for p in plan.runs if p.run.id in row_of and not p.done]
    failed = tuple(row for row in to_do if row.state == "failed" and not retry_failed)
    unreadable = tuple(row for row in to_do if row.state == "unreadable")
    excluded = {row.run_id for row in (*failed, *unreadable)}
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
    return FailedExcluded(plan=kept, failed=failed, unreadable=unreadable, waiting=tuple(waiting))
