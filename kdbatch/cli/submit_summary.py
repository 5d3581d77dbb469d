"""The last lines of `kdbatch submit`, which count every run of the plan, also those left out."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from kdbatch.base.command_lines import logs_command, report_command, resume_command, status_command
from kdbatch.base.disk_space import remedy_of
from kdbatch.base.text import duration, plural
from kdbatch.launch.exclude_failed import FailedExcluded
from kdbatch.launch.local.run import LocalOutcome
from kdbatch.launch.saved_plans import SubmitRequest
from kdbatch.launch.slurm.arrays import MetLimit
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import RunFolder

FAILED_BEFORE, PARENT_LEFT_OUT = "left out (failed before)", "left out (a parent was left out)"
UNREADABLE = "left out (cannot be read)"
MAX_LEFT_OUT_LINES = 20


def left_out_lines(plan: Plan, excluded: FailedExcluded) -> Iterator[str]:
    """A line for each run that is left out, with its reason; of many, for the first ones."""
    left_out = {row.run_id for row in (*excluded.failed, *excluded.unreadable)}
    left_out |= set(excluded.waiting)
    lines = [
        f"left out: {row.run_id} {row.title} failed before: {row.reason}" for row in excluded.failed
    ]
    lines += [
        f"left out: {row.run_id} {row.title} may be done: {row.reason}"
        for row in excluded.unreadable
    ]
    for item in plan.runs:
        if item.run.id in excluded.waiting:
            parent = next(parent for parent in item.run.parents if parent in left_out)
            lines.append(f"left out: {item.run.id} {item.title} waits for {parent}")
    yield from lines[:MAX_LEFT_OUT_LINES]
    if more := lines[MAX_LEFT_OUT_LINES:]:
        yield f"left out: {len(more)} more. See all: {status_command()}"


def dry_run_lines(selected: Plan, *, total: int, start: str) -> Iterator[str]:
    """The sum of a dry run, and the command that starts it. `selected` has the runs that may be
    started, of `total` runs of the plan.
    """
    waiting = [planned for planned in selected.runs if not planned.done]
    if not waiting:
        yield f"{total} runs: none to start."
        return
    hours = duration(3600 * sum(planned.hours for planned in waiting))
    yield f"{total} runs: {len(waiting)} to start or in the queue, about {hours} of computing."
    yield f"Nothing was started. To start them: {start}"


def local_lines(
    plan: Plan,
    outcome: LocalOutcome,
    excluded: FailedExcluded,
    request: SubmitRequest,
    *,
    runs_dir: Path,
) -> Iterator[str]:
    """How the local queue ended, and the command that follows."""
    for row in outcome.rows:
        if row.state in ("failed", "blocked", "unreadable"):
            yield f"{row.state}: {row.run_id} {row.title}: {row.reason}"
    if outcome.interrupted or outcome.disk_full:
        yield _stopped_line(plan, outcome, request, runs_dir)
    else:
        counts = Counter[str](row.state for row in outcome.rows)
        yield _sum_line(plan, counts + _left_out(excluded))
    if failed := next((row for row in outcome.rows if row.state == "failed"), None):
        yield f"Why one failed: {logs_command(failed.run_id)}"
    if outcome.count("failed") or excluded.failed:
        yield f"Try failed runs again: {request.command(retry_failed=True)}"


def slurm_lines(
    plan: Plan,
    submitted: Mapping[str, str],
    excluded: FailedExcluded,
    request: SubmitRequest,
    limits: Sequence[MetLimit] = (),
    *,
    runs_dir: Path,
) -> Iterator[str]:
    """The jobs of the runs that were `submitted` (run id -> job id), and the command that follows:
    a line for each kind of an array.
    """
    yield from array_lines(plan, submitted)
    counts = _left_out(excluded)
    counts["handed to SLURM"] = len(submitted)
    counts["planned"] = sum(len(limit.run_ids) for limit in limits)
    others = [item.run.id for item in plan.runs if item.run.id not in submitted]
    counts["done"] = sum(RunFolder(runs_dir / run_id).is_known_done() for run_id in others)
    counts["in SLURM's queue before"] = len(plan.runs) - counts.total()
    yield _sum_line(plan, counts)
    for limit in limits:
        yield (
            f"SLURM takes no more jobs now ({limit.name}). When some have ended: {resume_command()}"
            f". Or let this be done: {request.command(wait=True)}"
        )
    if excluded.failed:
        yield f"Try failed runs again: {request.command(retry_failed=True)}"
    if submitted or counts["in SLURM's queue before"]:
        yield f"Watch them: {status_command(watch=True)}"


def partial_lines(plan: Plan, submitted: Mapping[str, str], *, go_on: str) -> Iterator[str]:
    """The jobs that SLURM has of a submit that stopped before its end; `go_on` is the command that
    submits the others. Nothing where there are none.
    """
    if submitted:
        yield from array_lines(plan, submitted)
        yield (
            f"{plural(len(plan.runs), 'run')}: {len(submitted)} handed to SLURM, which keeps them; "
            f"then submit stopped. Go on with: {go_on}"
        )


def array_lines(plan: Plan, submitted: Mapping[str, str]) -> Iterator[str]:
    """A line for each kind of run of an array."""
    kinds = {item.run.id: item.run.recipe.kind for item in plan.runs}
    sizes: Counter[tuple[str, str]] = Counter()
    for run_id, job_id in submitted.items():
        sizes[job_id.partition("_")[0], kinds[run_id]] += 1
    for (number, kind), size in sizes.items():
        yield f"job {number}: {size} x {kind}"


def _left_out(excluded: FailedExcluded) -> Counter[str]:
    numbers = {
        FAILED_BEFORE: len(excluded.failed),
        UNREADABLE: len(excluded.unreadable),
        PARENT_LEFT_OUT: len(excluded.waiting),
    }
    return Counter({words: num for words, num in numbers.items() if num})


def _sum_line(plan: Plan, counts: Counter[str]) -> str:
    """The number of runs of the plan, and of those in each state."""
    parts = ", ".join(f"{num} {words}" for words, num in counts.items() if num)
    line = f"{plural(len(plan.runs), 'run')}: {parts or 'nothing to do'}"
    return f"{line}. Next: {report_command()}" if counts["done"] == len(plan.runs) else line


def _stopped_line(plan: Plan, outcome: LocalOutcome, request: SubmitRequest, runs_dir: Path) -> str:
    """Where a queue stands that was stopped, by a signal or by a full disk."""
    stopped = [RunFolder(runs_dir / row.run_id) for row in outcome.rows if row.state == "stopped"]
    saved = sum(folder.checkpoint.exists() for folder in stopped)
    progress = f", the progress of {saved} is saved" if saved else ""
    done = f"{outcome.count('done')} of {plural(len(plan.runs), 'run')} are done{progress}"
    if outcome.disk_full:
        remedy = remedy_of(outcome.disk_full)
        start = "No space" if remedy != "Make it writable" else "Stopped"
        return f"{start}: {outcome.disk_full}. {done}. {remedy}, then: {request.command()}"
    return f"Stopped: {done}. Resume: {request.command()}"
