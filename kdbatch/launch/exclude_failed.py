"""Runs that failed before: an error is not tried again by itself, and what waits for one need not
start.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from kdbatch.launch.run_status import RunRow
from kdbatch.vocab.plans import Plan


@dataclass(frozen=True, kw_only=True)
class FailedExcluded:
    """The plan without the runs that failed before and without their descendants; those rows, and
    the descendants' ids.
    """

    plan: Plan
    failed: tuple[RunRow, ...]
    waiting: tuple[str, ...]


def exclude_failed(plan: Plan, rows: Iterable[RunRow]) -> FailedExcluded:
    """`rows` are what the survey says of every run; those of other plans do not matter. Parents
    come before children in a plan.
    """
    found = {row.run_id: row for row in rows if row.state == "failed"}
    failed = tuple(found[p.run.id] for p in plan.runs if p.run.id in found)
    out = {row.run_id for row in failed}
    waiting: list[str] = []
    for planned in plan.runs:
        if planned.run.id not in out and not planned.done and out & set(planned.run.parents):
            out.add(planned.run.id)
            waiting.append(planned.run.id)
    waves = (
        replace(wave, run_ids=tuple(r for r in wave.run_ids if r not in out)) for wave in plan.waves
    )
    left = replace(
        plan,
        runs=tuple(p for p in plan.runs if p.run.id not in out),
        waves=tuple(wave for wave in waves if wave.run_ids),
    )
    return FailedExcluded(plan=left, failed=failed, waiting=tuple(waiting))
