"""The commands that plan, start and stop runs, and init and doctor; one function each."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.text import plural
from kdbatch.cli.run_list import watch_runs
from kdbatch.cli.terminal import print_line, show_plan, warn
from kdbatch.launch.doctor import Finding, run_checks
from kdbatch.launch.dry_run import describe_launch
from kdbatch.launch.exclude_failed import FailedExcluded, exclude_failed
from kdbatch.launch.init_config import detect_site, write_config
from kdbatch.launch.local.run import run_locally
from kdbatch.launch.logs import find_run
from kdbatch.launch.machine import QueueKind, default_jobs, queue_kind
from kdbatch.launch.run_status import RunRow, load_run_rows
from kdbatch.launch.slurm.cancel import cancel_runs
from kdbatch.launch.slurm.commands import queued_jobs
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config, load_config
from kdbatch.vocab.plans import Plan
from kdbatch.vocab.shards import load_index


def plan(files: tuple[Path, ...], *, profile: str) -> None:
    """`kdbatch plan`."""
    config = load_config()
    plan = make_plan(_check_files(files), profile=profile, config=config)
    num_bytes = 0
    for dataset in {item.run.recipe.data.dataset for item in plan.runs}:
        for part in load_index(config.shards_dir, dataset).parts.values():
            num_bytes += sum(shard.num_bytes for shard in part.shards)
    show_plan(plan, num_bytes=num_bytes)


def submit(
    files: tuple[Path, ...],
    *,
    profile: str,
    local: bool,
    jobs: int,
    dry_run: bool,
    retry_failed: bool,
) -> int:
    """`kdbatch submit`. The local queue's exit code is 1 if a run is not done, 130 after Ctrl-C."""
    config = load_config()
    plan = make_plan(_check_files(files), profile=profile, config=config)
    queue: QueueKind = "local" if local else queue_kind()
    excluded = FailedExcluded(plan=plan, failed=(), waiting=())

    def select(plan: Plan) -> Plan:
        nonlocal excluded
        if not retry_failed:
            excluded = exclude_failed(plan, _load_rows(config, queue))
        return excluded.plan

    code = 0
    if dry_run:
        for line in describe_launch(select(plan), config=config, queue=queue):
            print_line(line)
    elif queue == "local":
        code = _submit_local(select(plan), config, jobs)
    else:
        _submit_slurm(plan, config, select=select)
    _print_excluded(excluded, files)
    return code or (1 if excluded.failed and queue == "local" else 0)


def cancel(what: tuple[str, ...], *, profile: str, everything: bool) -> None:
    """`kdbatch cancel`."""
    config = load_config()
    if everything == bool(what):
        raise UserError(
            "name what to cancel: kdbatch cancel FILE.yaml, kdbatch cancel RUN, "
            "or kdbatch cancel --all"
        )
    run_ids: list[str] = []
    for text in what:
        run_ids += _run_ids(text, profile=profile, config=config)
    cancelled = cancel_runs(config.runs_dir, None if everything else run_ids)
    for run_id, process in cancelled.local.items():
        warn(f"{run_id} is trained by {process}: stop its queue there with Ctrl-C")
    if cancelled.job_ids:
        print_line(
            f"{plural(len(cancelled.job_ids), 'job')} cancelled; runs that have started save their "
            "progress, and the same submit goes on. See: kdbatch status"
        )
    else:
        print_line("No job of these runs is in the queue.")


def init() -> None:
    """`kdbatch init`."""
    path = Path("kdbatch.toml")
    site = detect_site()
    write_config(path, site)
    names = ", ".join(partition.name for partition in site.partitions)
    slurm = f"SLURM's partitions here: {names}" if names else "no SLURM was found here"
    print_line(f"{path} is written; {slurm}")
    print_line("Check its values, then type: kdbatch doctor")


def doctor(*, submit: bool) -> int:
    """`kdbatch doctor`. Exit code 1 where something would make runs fail."""
    config = load_config()
    has_slurm = queue_kind() == "slurm"
    if submit and not has_slurm:
        raise UserError(
            "doctor --submit: there is no sbatch here, so no node to check. Leave --submit out."
        )
    num_bad = sum(_print_finding(finding) for finding in run_checks(config))
    if submit:
        num_bad += _check_node(config)
    elif has_slurm:
        print_line("What a node offers, in the image: kdbatch doctor --submit")
    if num_bad:
        print_line(f"{plural(num_bad, 'thing')} would make runs fail")
    else:
        print_line("nothing was found that would make runs fail")
    return 1 if num_bad else 0


def _check_node(config: Config) -> int:
    """Submit the probe and print its findings; returns how many are bad."""
    from kdbatch.launch.node_check import (  # submitit, as in _submit_slurm
        await_node_check,
        submit_node_check,
    )

    probe = submit_node_check(config)
    print_line(
        f"a probe of two minutes is job {probe.job_id}; waiting for it. "
        f"Ctrl-C leaves it in the queue, scancel {probe.job_id} ends it"
    )
    findings = await_node_check(probe, config, log=print_line)
    return sum(_print_finding(finding) for finding in findings)


def _print_finding(finding: Finding) -> bool:
    """Print one line; returns whether the finding is bad."""
    print_line(f"{finding.severity:4}  {finding.subject}: {finding.message}")
    return finding.severity == "bad"


def _check_files(files: tuple[Path, ...]) -> tuple[Path, ...]:
    if not files:
        raise UserError("name at least one experiment, as in: kdbatch submit jobs/subset_size.yaml")
    return files


def _print_excluded(excluded: FailedExcluded, files: tuple[Path, ...]) -> None:
    for row in excluded.failed:
        print_line(f"left out: {row.run_id} {row.title} failed before: {row.reason}")
    if excluded.failed:
        waiting = f" and {len(excluded.waiting)} that wait for them" if excluded.waiting else ""
        command = " ".join(("kdbatch submit", *map(str, files), "--retry-failed"))
        print_line(
            f"Left out {plural(len(excluded.failed), 'run')} that failed before{waiting}. "
            f"Try them again: {command}"
        )


def _submit_local(plan: Plan, config: Config, jobs: int) -> int:
    with watch_runs() as show:
        outcome = run_locally(plan, config=config, jobs=jobs or default_jobs(), progress=show)
    for row in outcome.rows:
        if row.state in ("failed", "blocked"):
            print_line(f"{row.state}: {row.run_id} {row.title}: {row.reason}")
    print_line(f"{plural(len(outcome.rows), 'run')}: {outcome.summary}")
    if outcome.complete:
        print_line("Next: kdbatch report")
        return 0
    return 130 if outcome.interrupted else 1


def _submit_slurm(plan: Plan, config: Config, *, select: Callable[[Plan], Plan]) -> None:
    # submitit, which takes longer to import than status takes to answer
    from kdbatch.launch.slurm.submit import submit_arrays

    submitted = submit_arrays(plan, config=config, select=select)
    kinds = {p.run.id: p.run.recipe.kind for p in plan.runs}
    sizes: Counter[tuple[str, str]] = Counter()
    for run_id, job_id in submitted.items():
        sizes[job_id.partition("_")[0], kinds[run_id]] += 1
    for (number, kind), size in sizes.items():
        print_line(f"job {number}: {size} x {kind}")
    num_runs = plural(len(submitted), "run")
    print_line(f"{num_runs} handed to SLURM. Watch them: kdbatch status --watch")


def _load_rows(config: Config, queue: QueueKind) -> tuple[RunRow, ...]:
    live = {job.id for job in queued_jobs()} if queue == "slurm" else None
    return load_run_rows(config.runs_dir, live=live)


def _run_ids(text: str, *, profile: str, config: Config) -> tuple[str, ...]:
    """The runs of an experiment's file, or the one run whose id begins with `text`."""
    if text.endswith((".yaml", ".yml")) or Path(text).is_file():
        plan = make_plan((Path(text),), profile=profile, config=config)
        return tuple(p.run.id for p in plan.runs)
    return (find_run(config.runs_dir, text).id,)
