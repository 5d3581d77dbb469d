"""`kdbatch submit` and `kdbatch resume`."""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from kdbatch.base.command_lines import report_command, status_command, submit_command
from kdbatch.base.errors import UserError
from kdbatch.base.study_folder import find_study
from kdbatch.cli.arguments.experiments import check_experiments
from kdbatch.cli.planning.known_datasets import known_datasets
from kdbatch.cli.run_list import count_states, watch_runs
from kdbatch.cli.study import load_study_config
from kdbatch.cli.submit_summary import (
    array_lines,
    dry_run_lines,
    left_out_lines,
    local_lines,
    partial_lines,
    slurm_lines,
)
from kdbatch.cli.terminal import print_line, warn
from kdbatch.launch.checks.extensions import check_extensions
from kdbatch.launch.checks.imported_files import check_imported_files
from kdbatch.launch.container.pull import prepare_container
from kdbatch.launch.dry_run import describe_launch
from kdbatch.launch.exclude_failed import FailedExcluded, exclude_failed
from kdbatch.launch.local.run import run_locally
from kdbatch.launch.local.worker import worker_command
from kdbatch.launch.machine import QueueKind, default_jobs, queue_kind, visible_gpus
from kdbatch.launch.queue_feed import FEED_SECONDS, MOVING, FeedPace, only_new, runs_to_feed
from kdbatch.launch.run_folders import submissions_dir, write_runs
from kdbatch.launch.run_status import RunWatcher, load_run_rows
from kdbatch.launch.saved_plans import (
    SubmitRequest,
    choose_records,
    file_of,
    group_requests,
    is_complete,
)
from kdbatch.launch.slurm.arrays import MetLimit
from kdbatch.launch.slurm.squeue.recovery import study_queue
from kdbatch.launch.slurm.squeue.shared_answers import QueueAnswer
from kdbatch.launch.states.run_row import RunRow
from kdbatch.launch.stored_tars import check_tars
from kdbatch.plan.resolve import make_plan, require_shards
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.pause import end_pause
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.plans.records import PlanRecord

INTERRUPTED = 130  # exit code after Ctrl-C


def submit(request: SubmitRequest, *, dry_run: bool, retry_failed: bool, wait: bool) -> int:
    """`kdbatch submit`. The exit code of the local queue, and of `wait`, is 1 if a run is not done,
    and 130 after Ctrl-C.
    """
    config = load_study_config()

    def repeat(files: Sequence[Path], profile: str) -> str:
        meant = replace(request, files=tuple(files), profile=profile or request.profile)
        return meant.command(retry_failed=retry_failed, wait=wait) + (
            " --dry-run" if dry_run else ""
        )

    check_experiments(request.files, repeat=repeat)
    return _submit(request, config, dry_run=dry_run, retry_failed=retry_failed, wait=wait)


def resume(files: tuple[Path, ...], *, profile: str, dry_run: bool, retry_failed: bool) -> int:
    """`kdbatch resume`: submits again what was submitted, as it was. Exit codes as of submit."""
    config, study = load_study_config(), find_study()
    records = choose_records(config.runs_dir, files, profile=profile, study=study)
    if not files:
        records = tuple(r for r in records if not is_complete(r, config.runs_dir))
    if not records:
        print_line(f"Nothing to resume: every submitted run is done. Next: {report_command()}")
        return 0
    if not dry_run:
        end_pause(config.runs_dir)
    code = max([_warn_of_unknown_way(record, config, study) for record in records])
    # SLURM first: the local queue may take days
    for request in sorted(group_requests(records, study=study), key=lambda r: r.local):
        print_line(f"Resume: {request.command(retry_failed=retry_failed)}")
        if not request.local and queue_kind() != "slurm":
            here = replace(request, local=True).command(retry_failed=retry_failed)
            raise UserError(
                "this was submitted to SLURM, and there is no sbatch here. "
                f"Go to a login node, or run it on this machine: {here}"
            )
        code = max(code, _submit(request, config, dry_run=dry_run, retry_failed=retry_failed))
        if code == INTERRUPTED:
            break
    return code


def _warn_of_unknown_way(record: PlanRecord, config: Config, study: Path) -> int:
    """Warn of a plan whose file does not name its queue and flags; returns 1 for it, else 0."""
    if record.submitted:
        return 0
    again = submit_command([file_of(record, study)], profile=record.profile)
    warn(
        f"{config.runs_dir}/plans/{record.experiment}.{record.profile}.json is of an older version "
        f"and does not say how it was submitted. Submit it once more: {again} "
        "(with --local, if it went to the local queue)"
    )
    return 1


def _submit(
    request: SubmitRequest,
    config: Config,
    *,
    dry_run: bool,
    retry_failed: bool,
    wait: bool = False,
) -> int:
    queue = "local" if request.local else queue_kind()
    if wait and queue != "slurm":
        raise UserError("--wait feeds SLURM's queue; the local queue waits anyway. Leave it out.")
    plan = _plan(request, config, queue)
    if dry_run:
        excluded = _exclude_failed(plan, config, queue, retry_failed=retry_failed)
        lines = describe_launch(excluded.plan, config=config, queue=queue)
        _print(*lines, *left_out_lines(plan, excluded))
        start = request.command(retry_failed=retry_failed, wait=wait)
        _print(*dry_run_lines(excluded.plan, total=len(plan.runs), start=start))
        return 0
    prepare_container(config, on_this_machine=queue == "local", say=print_line)
    if queue == "slurm":
        code = _submit_slurm(plan, request, config, retry_failed=retry_failed)
        return _feed(plan, request, config) if wait else code
    return _run_locally(plan, request, config, retry_failed=retry_failed)


def _plan(request: SubmitRequest, config: Config, queue: QueueKind) -> Plan:
    """The plan of the request, after the checks of what its runs would read."""
    plan = make_plan(
        request.files,
        profile=request.profile,
        config=config,
        has_gpus=queue == "slurm" or bool(visible_gpus()),
        datasets=known_datasets(config),
    )
    require_shards(plan, slurm=queue == "slurm")
    if not plan.runs:
        for line in plan.warnings:
            warn(line)
    check_tars(plan, config.shards_dir)
    for line in (*check_imported_files(plan, config), *check_extensions(plan, config)):
        warn(line)
    return request.note_in(plan, local=queue == "local", study=find_study())


def _exclude_failed(
    plan: Plan, config: Config, queue: QueueKind, *, retry_failed: bool
) -> FailedExcluded:
    live = None
    if queue == "slurm" and not retry_failed:
        jobs = study_queue(submissions_dir(config.runs_dir))
        live = QueueAnswer(holds={job.id: job.hold for job in jobs})
    rows = load_run_rows(config.runs_dir, live=live)
    return exclude_failed(plan, rows, retry_failed=retry_failed)


def _run_locally(plan: Plan, request: SubmitRequest, config: Config, *, retry_failed: bool) -> int:
    excluded = _exclude_failed(plan, config, "local", retry_failed=retry_failed)
    command = worker_command(config)  # refuses before anything is written
    write_runs(plan, config=config)  # what is left out is a part of the study, too
    with watch_runs() as show:
        jobs = request.jobs or default_jobs()
        outcome = run_locally(
            excluded.plan, config=config, jobs=jobs, progress=show, command=command
        )
    _print(
        *left_out_lines(plan, excluded),
        *local_lines(plan, outcome, excluded, request, runs_dir=config.runs_dir),
    )
    if outcome.interrupted:
        return INTERRUPTED
    return 0 if outcome.complete and not (excluded.failed or excluded.unreadable) else 1


def _submit_slurm(plan: Plan, request: SubmitRequest, config: Config, *, retry_failed: bool) -> int:
    """Submit the plan. Where that stops after some arrays, they are printed, with the command that
    submits the others.
    """
    # submitit, which takes longer to import than status takes to answer
    from kdbatch.launch.slurm.submit import submit_arrays

    excluded = FailedExcluded(plan=plan, failed=(), waiting=())
    submitted: dict[str, str] = {}
    limits: list[MetLimit] = []

    def select(plan: Plan) -> Plan:
        nonlocal excluded
        excluded = _exclude_failed(plan, config, "slurm", retry_failed=retry_failed)
        return excluded.plan

    try:
        submit_arrays(
            plan,
            config=config,
            select=select,
            on_submitted=submitted.update,
            on_limit=limits.append,
        )
    except BaseException:  # Ctrl-C as well
        go_on = request.command(retry_failed=retry_failed)
        _print(*partial_lines(plan, submitted, go_on=go_on))
        raise
    _print(*left_out_lines(plan, excluded))
    _print(*slurm_lines(plan, submitted, excluded, request, limits, runs_dir=config.runs_dir))
    return 1 if excluded.unreadable else 0


def _feed(plan: Plan, request: SubmitRequest, config: Config) -> int:
    """Hand over the rest of the plan whenever SLURM takes some, until nothing moves any more."""
    watcher, journal_dir = RunWatcher(config.runs_dir), submissions_dir(config.runs_dir)
    pace: FeedPace | None = None
    ids = {planned.run.id for planned in plan.runs}
    try:
        while True:
            queue = study_queue(journal_dir)
            num_own = sum(job.is_ours for job in queue)
            pace = pace or FeedPace(num_own, now=time.monotonic())
            live = QueueAnswer(holds={job.id: job.hold for job in queue})
            rows = {row.run_id: row for row in watcher.look(live=live)}
            left = runs_to_feed(plan, rows)
            if left and pace.may_take_more(num_own, now=time.monotonic()):
                _hand_over(plan, rows, config)
            elif not left and not any(rows[run_id].state in MOVING for run_id in ids):
                break
            time.sleep(FEED_SECONDS)
    except KeyboardInterrupt:
        print_line(f"SLURM keeps its jobs. Hand over the rest: {request.command(wait=True)}")
        return INTERRUPTED
    chosen = [rows[run_id] for run_id in ids]
    print_line(f"{count_states(chosen)}. See: {status_command()}")
    return 0 if all(row.state == "done" for row in chosen) else 1


def _hand_over(plan: Plan, rows: Mapping[str, RunRow], config: Config) -> None:
    """Submit what SLURM takes of the runs that it has not had yet."""
    # as in _submit_slurm
    from kdbatch.launch.slurm.sbatch.call import JobLimitError
    from kdbatch.launch.slurm.submit import submit_arrays

    submitted: dict[str, str] = {}
    with suppress(JobLimitError):
        submit_arrays(
            plan,
            config=config,
            select=lambda whole: only_new(whole, rows.values()),
            on_submitted=submitted.update,
        )
    _print(*array_lines(plan, submitted))


def _print(*lines: str) -> None:
    for line in lines:
        print_line(line)
