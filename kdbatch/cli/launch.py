"""What the commands around runs do: submit, status, logs, cancel, init, doctor; and what they say
of it. One function per command.
"""

import json as encoder
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.text import plural
from kdbatch.cli.terminal import print_line, show_plan, show_status, warn, watch_runs
from kdbatch.launch.doctor import Finding, run_checks
from kdbatch.launch.dry_run import describe_launch
from kdbatch.launch.exclude_failed import FailedExcluded, exclude_failed
from kdbatch.launch.init_config import detect_site, write_config
from kdbatch.launch.local.run import run_locally
from kdbatch.launch.logs import find_run, follow, read_last_lines
from kdbatch.launch.machine import QueueKind, default_jobs, queue_kind
from kdbatch.launch.run_status import RunRow, load_run_rows, rows_as_json
from kdbatch.launch.slurm.cancel import cancel_runs
from kdbatch.launch.slurm.commands import JobsCache, queued_jobs
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config, load_config
from kdbatch.vocab.plans import Plan
from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.shards import load_index
from kdbatch.vocab.status import RunState

WATCH_SECONDS = 2.0  # between two looks at the run folders
MOVING: tuple[RunState, ...] = ("queued", "running", "stale")


def plan(files: tuple[Path, ...], *, profile: str) -> None:
    """`kdbatch plan`."""
    config = load_config()
    plan = make_plan(_check_files(files), profile=profile, config=config)
    datasets = {item.run.recipe.data.dataset for item in plan.runs}
    shards = (
        s
        for d in datasets
        for part in load_index(config.shards_dir, d).parts.values()
        for s in part.shards
    )
    show_plan(plan, num_bytes=sum(s.num_bytes for s in shards))


def submit(
    files: tuple[Path, ...],
    *,
    profile: str,
    local: bool,
    jobs: int,
    dry_run: bool,
    retry_failed: bool,
) -> int:
    """`kdbatch submit`."""
    config = load_config()
    plan = make_plan(_check_files(files), profile=profile, config=config)
    queue: QueueKind = "local" if local else queue_kind()
    aside = FailedExcluded(plan=plan, failed=(), waiting=())

    def choose(plan: Plan) -> Plan:
        nonlocal aside
        if not retry_failed:
            aside = exclude_failed(plan, _load_rows(config, queue))
        return aside.plan

    code = 0
    if dry_run:
        for line in describe_launch(choose(plan), config=config, queue=queue):
            print_line(line)
    elif queue == "local":
        code = _submit_local(choose(plan), config, jobs)
    else:
        _submit_slurm(plan, config, select=choose)
    for row in aside.failed:
        print_line(f"left out: {row.run_id} {row.title} failed before: {row.reason}")
    if aside.failed:
        wait = f" and {len(aside.waiting)} that wait for them" if aside.waiting else ""
        words = " ".join(map(str, files))
        print_line(
            f"Left out {plural(len(aside.failed), 'run')} that failed before{wait}. Try them again: kdbatch submit {words} --retry-failed"
        )
    return code or (1 if aside.failed and queue == "local" else 0)


def status(*, json: bool, watch: bool) -> None:
    """`kdbatch status`."""
    config = load_config()
    jobs = JobsCache(warn=warn)
    rows = load_run_rows(config.runs_dir, live=jobs.live())
    if json:
        print_line(encoder.dumps(rows_as_json(rows), indent=1))
    elif not rows:
        print_line(
            f"No runs in {config.runs_dir}/ yet. Start some: kdbatch submit jobs/subset_size.yaml"
        )
    elif watch:
        _watch(config, jobs)
        show_status(load_run_rows(config.runs_dir, live=jobs.live()))
    else:
        show_status(rows)
        _print_next_command(rows)


def logs(run: str, *, follow_on: bool, lines: int) -> None:
    """`kdbatch logs`."""
    config = load_config()
    folder = find_run(config.runs_dir, run)
    jobs = JobsCache(warn=warn)
    (row,) = load_run_rows(config.runs_dir, live=jobs.live(), only=folder)
    told = read_last_lines(config.runs_dir, folder, num_lines=lines)
    for line in told.lines:
        print_line(line)
    if not follow_on:
        state = f"{row.state}: {row.reason}" if row.reason else row.state
        warn(
            f"{folder.id} is {state}"
            + (f" (job {row.job})" if row.job and row.state == "queued" else "")
        )
        return
    with suppress(KeyboardInterrupt):
        for text in follow(folder, start=told.size, is_over=lambda: _is_over(config, folder, jobs)):
            print_line(text)


def cancel(what: tuple[str, ...], *, profile: str, everything: bool) -> None:
    """`kdbatch cancel`."""
    config = load_config()
    if everything == bool(what):
        raise UserError(
            "say what to cancel: kdbatch cancel FILE.yaml, kdbatch cancel RUN, or kdbatch cancel --all"
        )
    run_ids = (
        None
        if everything
        else tuple(
            run_id for word in what for run_id in _run_ids(word, profile=profile, config=config)
        )
    )
    done = cancel_runs(config.runs_dir, run_ids)
    for run_id, where in done.local.items():
        warn(f"{run_id} is trained by {where}: stop its queue there with Ctrl-C")
    if done.job_ids:
        cancelled = plural(len(done.job_ids), "job")
        print_line(
            f"{cancelled} cancelled; what has started saves its progress, and the same submit goes on. Look: kdbatch status"
        )
    else:
        print_line("No job of these runs is in the queue.")


def init() -> None:
    """`kdbatch init`."""
    path = Path("kdbatch.toml")
    seen = detect_site()
    write_config(path, seen)
    names = ", ".join(partition.name for partition in seen.partitions)
    print_line(
        f"{path} is written"
        + (f"; SLURM's partitions here: {names}" if names else "; no SLURM was seen here")
    )
    print_line("Look at it, then: kdbatch doctor")


def doctor(*, submit: bool) -> int:
    """`kdbatch doctor`. Exit code 1 where something would make runs fail."""
    config = load_config()
    slurm = queue_kind() == "slurm"
    if submit and not slurm:
        raise UserError(
            "doctor --submit: there is no sbatch here, so no node to ask. Leave --submit out."
        )
    findings = []
    for finding in run_checks(config):
        findings.append(finding)
        _print_finding(finding)
    if submit:
        from kdbatch.launch.node_check import (
            await_node_check,
            submit_node_check,
        )  # submitit, as above

        probe = submit_node_check(config)
        print_line(
            f"a probe of two minutes is job {probe.job_id}; waiting for it, Ctrl-C leaves it (scancel {probe.job_id} ends it)"
        )
        for finding in await_node_check(probe, config, log=print_line):
            findings.append(finding)
            _print_finding(finding)
    elif slurm:
        print_line("What a node offers, in the image: kdbatch doctor --submit")
    num_bad = sum(finding.severity == "bad" for finding in findings)
    print_line(
        f"{plural(num_bad, 'thing')} would make runs fail"
        if num_bad
        else "nothing was found that would make runs fail"
    )
    return 1 if num_bad else 0


def _check_files(files: tuple[Path, ...]) -> tuple[Path, ...]:
    if not files:
        raise UserError("name at least one experiment, as in: kdbatch submit jobs/subset_size.yaml")
    return files


def _print_finding(finding: Finding) -> None:
    print_line(f"{finding.severity:4}  {finding.subject}: {finding.message}")


def _submit_local(plan: Plan, config: Config, jobs: int) -> int:
    with watch_runs() as tell:
        outcome = run_locally(plan, config=config, jobs=jobs or default_jobs(), progress=tell)
    for row in outcome.rows:
        if row.state in ("failed", "blocked"):
            print_line(f"{row.state}: {row.run_id} {row.title}: {row.reason}")
    print_line(f"{plural(len(outcome.rows), 'run')}: {outcome.summary}")
    if outcome.complete:
        print_line("Next: kdbatch report")
    return 0 if outcome.complete else 130 if outcome.interrupted else 1


def _submit_slurm(plan: Plan, config: Config, *, select: Callable[[Plan], Plan]) -> None:
    from kdbatch.launch.slurm.submit import (
        submit_arrays,
    )  # submitit, which takes longer to import than status to answer

    submitted = submit_arrays(plan, config=config, select=select)
    kinds = {p.run.id: p.run.recipe.kind for p in plan.runs}
    arrays = Counter(
        (job_id.partition("_")[0], kinds[run_id]) for run_id, job_id in submitted.items()
    )
    for (number, kind), num in arrays.items():
        print_line(f"job {number}: {num} x {kind}")
    print_line(
        f"{plural(len(submitted), 'run')} handed to SLURM. Watch them: kdbatch status --watch"
    )


def _watch(config: Config, jobs: JobsCache) -> None:
    """Until nothing moves any more, or Ctrl-C."""
    with suppress(KeyboardInterrupt), watch_runs() as tell:
        while True:
            rows = load_run_rows(config.runs_dir, live=jobs.live())
            tell(rows)
            if not any(row.state in MOVING for row in rows):
                return
            time.sleep(WATCH_SECONDS)


def _load_rows(config: Config, queue: QueueKind) -> tuple[RunRow, ...]:
    return load_run_rows(
        config.runs_dir, live={job.id for job in queued_jobs()} if queue == "slurm" else None
    )


def _is_over(config: Config, folder: RunFolder, jobs: JobsCache) -> bool:
    """A run that was stopped may go on, unless SLURM says that no job of it is left."""
    live = jobs.live()
    (row,) = load_run_rows(config.runs_dir, live=live, only=folder)
    return row.state not in (*MOVING, *(("stopped",) if live is None else ()))


def _print_next_command(rows: Iterable[RunRow]) -> None:
    """The command that a person needs now."""
    states = [row.state for row in rows]
    if failed := next((row for row in rows if row.state == "failed"), None):
        print_line(
            f"Why one failed: kdbatch logs {failed.run_id}. Try failed ones again: kdbatch submit FILE --retry-failed"
        )
    if any(state in ("planned", "lost", "stopped", "damaged") for state in states):
        print_line(
            "Runs that nobody works on go on with the command that submitted them: kdbatch submit FILE"
        )
    if states and all(state == "done" for state in states):
        print_line("Next: kdbatch report")


def _run_ids(text: str, *, profile: str, config: Config) -> tuple[str, ...]:
    if text.endswith((".yaml", ".yml")) or Path(text).is_file():
        return tuple(
            p.run.id for p in make_plan((Path(text),), profile=profile, config=config).runs
        )
    return (find_run(config.runs_dir, text).id,)
