"""`kdbatch submit --wait`: which runs may go to SLURM next, and when it may take some."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from kdbatch.launch.run_folders import waves_without
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.status import RunState

FEED_SECONDS = 60.0  # between two looks at SLURM's queue
PATIENCE_SECONDS = 900.0  # other users' jobs, which are not seen, may fill an account's share
MOVING: tuple[RunState, ...] = ("queued", "running", "stale")


def only_new(plan: Plan, rows: Iterable[RunRow]) -> Plan:
    """The plan of the runs that SLURM has not had yet, and whose parents are done, in its queue, or
    of these runs. A run that left the queue by itself, or was cancelled, waits for a person.
    """
    row_of = {row.run_id: row for row in rows}
    left_out: set[str] = set()
    for planned in plan.runs:  # parents come before children
        row = row_of.get(planned.run.id)
        is_in = planned.done or row is None or row.state in ("done", *MOVING)
        may_start = row is not None and row.state == "planned" and not row.job
        if not (is_in or may_start) or not left_out.isdisjoint(planned.run.parents):
            left_out.add(planned.run.id)
    return replace(
        plan,
        runs=tuple(p for p in plan.runs if p.run.id not in left_out),
        waves=waves_without(plan, left_out),
    )


def runs_to_feed(plan: Plan, rows: Mapping[str, RunRow]) -> list[str]:
    """The runs of the plan that only_new() leaves and that SLURM does not have."""
    kept = only_new(plan, rows.values())
    return [p.run.id for p in kept.runs if rows[p.run.id].state == "planned"]


class FeedPace:
    """When to ask SLURM again after a limit: it refuses as long as the queue is as full as then."""

    def __init__(self, num_jobs: int, *, now: float) -> None:
        self._full, self._asked_at = num_jobs, now

    def may_take_more(self, num_jobs: int, *, now: float) -> bool:
        """Whether a tenth of the user's jobs have left the queue, or a quarter of an hour passed.
        A yes is taken for a new try.
        """
        if num_jobs > 0.9 * self._full and now - self._asked_at < PATIENCE_SECONDS:
            return False
        self._full, self._asked_at = num_jobs, now
        return True
