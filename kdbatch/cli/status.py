"""`kdbatch status` and `kdbatch logs`."""

import json as encoder
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress

from kdbatch.base.command_lines import (
    logs_command,
    report_command,
    resume_command,
    submit_command,
)
from kdbatch.cli.run_list import show_status, watch_runs
from kdbatch.cli.study import NO_STUDY, is_study, load_existing_config, load_study_config
from kdbatch.cli.terminal import print_line, warn
from kdbatch.launch.live_queues import live_queues
from kdbatch.launch.logs import find_run, follow, read_last_lines
from kdbatch.launch.run_status import (
    RunRow,
    load_run_rows,
    of_submitted_plans,
    rows_as_json,
)
from kdbatch.launch.slurm.commands import JobsCache
from kdbatch.vocab.config import Config
from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.status import RunState

WATCH_SECONDS = 2.0  # between two reads of the run folders
IDLE: tuple[RunState, ...] = ("planned", "lost", "stopped", "damaged", "missing")
MOVING: tuple[RunState, ...] = ("queued", "running", "stale")


def status(*, json: bool, watch: bool) -> None:
    """`kdbatch status`."""
    config = load_study_config()
    jobs = JobsCache(warn=warn)
    rows = load_run_rows(config.runs_dir, live=jobs.live())
    if json:
        print_line(encoder.dumps(rows_as_json(rows), indent=1))
        if not is_study(config):
            warn(NO_STUDY)
    elif not is_study(config):
        print_line(f"There is {NO_STUDY}")
    elif not rows and not (watch and live_queues(config.runs_dir)):
        start = submit_command(["jobs/subset_size.yaml"], profile="paper")
        print_line(f"No runs in {config.runs_dir}/ yet. Start some: {start}")
    elif watch:
        _watch(config, jobs)
        _show(load_run_rows(config.runs_dir, live=jobs.live()), config)
    else:
        _show(rows, config)


def logs(run: str, *, follow_on: bool, lines: int) -> None:
    """`kdbatch logs`."""
    config = load_existing_config()
    folder = find_run(config.runs_dir, run)
    jobs = JobsCache(warn=warn)
    (row,) = load_run_rows(config.runs_dir, live=jobs.live(), only=folder)
    tail = read_last_lines(config.runs_dir, folder, num_lines=lines)
    for line in tail.lines:
        print_line(line)
    if not follow_on:
        state = f"{row.state}: {row.reason}" if row.reason else row.state
        job = f" (job {row.job})" if row.job and row.state == "queued" else ""
        warn(f"{folder.id} is {state}{job}")
        return
    with suppress(KeyboardInterrupt):
        for text in follow(folder, start=tail.size, is_over=lambda: _is_over(config, folder, jobs)):
            print_line(text)


def _watch(config: Config, jobs: JobsCache) -> None:
    """Show the runs until all have ended and no local queue is alive, or until Ctrl-C."""
    with suppress(KeyboardInterrupt), watch_runs() as show:
        while True:
            is_queue_alive = bool(live_queues(config.runs_dir))  # before its last rows are read
            rows = load_run_rows(config.runs_dir, live=jobs.live())
            show(rows)
            if not is_queue_alive and not any(row.state in MOVING for row in rows):
                return
            time.sleep(WATCH_SECONDS)


def _is_over(config: Config, folder: RunFolder, jobs: JobsCache) -> bool:
    """Whether a run's log is complete. A stopped run may go on, unless SLURM has no job of it."""
    live = jobs.live()
    (row,) = load_run_rows(config.runs_dir, live=live, only=folder)
    may_go_on = row.state == "stopped" and live is None
    return row.state not in MOVING and not may_go_on


def _show(rows: Sequence[RunRow], config: Config) -> None:
    show_status(rows)
    _print_next_command(of_submitted_plans(rows, config.runs_dir))


def _print_next_command(rows: Sequence[RunRow]) -> None:
    """Print the command that helps now. `rows` are the runs of submitted plans."""
    if failed := next((row for row in rows if row.state == "failed"), None):
        print_line(f"Why one failed: {logs_command(failed.run_id)}")
        print_line(f"Try failed runs again: {resume_command(retry_failed=True)}")
    idle = Counter(row.state for row in rows if row.state in IDLE)
    if idle:
        counts = ", ".join(f"{num} {state}" for state, num in idle.items())
        print_line(f"No process works on {counts}. Resume: {resume_command()}")
    if rows and all(row.state == "done" for row in rows):
        print_line(f"Next: {report_command()}")
