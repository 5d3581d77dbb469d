"""`kdbatch status` and `kdbatch logs`."""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kdbatch.base.command_lines import (
    logs_command,
    report_command,
    resume_command,
    shell_line,
    status_command,
    submit_command,
)
from kdbatch.base.errors import UserError
from kdbatch.base.text import plural
from kdbatch.cli.live.cost_table import cost_lines
from kdbatch.cli.run_list import count_states, show_status, watch_runs
from kdbatch.cli.study import NO_STUDY, is_study, load_existing_config, load_study_config
from kdbatch.cli.terminal import print_json, print_line, print_text, warn
from kdbatch.launch.live_queues import live_queues
from kdbatch.launch.logs import find_run, follow, read_last_lines
from kdbatch.launch.queue_feed import MOVING
from kdbatch.launch.run_costs import costs_of
from kdbatch.launch.run_groups import RunChoice, RunGroup, experiments_of, group_by_experiment
from kdbatch.launch.run_status import RunWatcher, load_run_rows, of_submitted_plans, rows_as_json
from kdbatch.launch.slurm.squeue.shared_answers import JobsCache
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.job_limit import met_job_limit
from kdbatch.vocab.jobs.lost_nodes import MAX_RUNS, avoided_nodes, load_lost_nodes, lost_nodes_file
from kdbatch.vocab.jobs.pause import pause_line, reason_of_pause
from kdbatch.vocab.plans.records import find_records
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import RunState

WATCH_SECONDS = 2.0  # between two reads of the run folders
IDLE: tuple[RunState, ...] = ("planned", "lost", "stopped", "damaged", "missing")


def status(
    what: tuple[str, ...], *, state: str, profile: str, json: bool, watch: bool, costs: bool
) -> None:
    """`kdbatch status`."""
    if costs and watch:
        raise UserError("--costs shows what was spent so far, once: leave out --watch")
    config = load_study_config()
    choice = RunChoice(what, state=state, profile=profile, config=config)
    jobs = JobsCache(config.runs_dir, warn=warn)
    watcher = RunWatcher(config.runs_dir)
    rows = watcher.look(live=jobs.live())
    if costs:
        _show_costs(choice.of(rows), config, json=json)
    elif json:
        print_json(_as_json(choice.of(rows), config))
        if not is_study(config):
            warn(NO_STUDY)
    elif not is_study(config):
        print_line(f"There is {NO_STUDY}")
    elif not rows and choice.is_all and not (watch and live_queues(config.runs_dir)):
        start = submit_command(["jobs/subset_size.yaml"], profile="paper")
        print_line(f"No runs in {config.runs_dir}/ yet. Start some: {start}")
    elif watch:
        choice.of(rows)  # a mistake ends here, and not while the screen is redrawn
        _watch(watcher, config, jobs, choice)
        _show(watcher.look(live=jobs.live()), config, choice)
    else:
        _show(rows, config, choice)


def logs(run: str, *, follow_on: bool, lines: int) -> None:
    """`kdbatch logs`."""
    config = load_existing_config()
    folder = find_run(config.runs_dir, run)
    jobs = JobsCache(config.runs_dir, warn=warn)
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
            print_text(text, endless=True)


def _show_costs(rows: Sequence[RunRow], config: Config, *, json: bool) -> None:
    """Show what the chosen runs took, by experiment."""
    found = costs_of(group_by_experiment(rows, find_records(config.runs_dir)), config.runs_dir)
    if json:
        print_json([asdict(each) for each in found])
        return
    for line in cost_lines(found):
        print_line(line)


def _watch(watcher: RunWatcher, config: Config, jobs: JobsCache, choice: RunChoice) -> None:
    """Show the chosen runs until they have ended, or until Ctrl-C. Where all runs are chosen, it
    goes on while a local queue is alive, as that may be about to write more runs.
    """
    with suppress(KeyboardInterrupt), watch_runs(endless=True) as show:
        while True:
            is_queue_alive = bool(live_queues(config.runs_dir))  # before its last rows are read
            rows = choice.of(watcher.look(live=jobs.live()))
            show(rows)
            if not (is_queue_alive and choice.is_all) and not any(
                row.state in MOVING for row in rows
            ):
                return
            time.sleep(WATCH_SECONDS)


def _is_over(config: Config, folder: RunFolder, jobs: JobsCache) -> bool:
    """Whether a run's log is complete. A stopped run may go on, unless SLURM has no job of it."""
    live = jobs.live()
    (row,) = load_run_rows(config.runs_dir, live=live, only=folder)
    may_go_on = row.state == "stopped" and live is None
    return row.state not in MOVING and not may_go_on


def _show(rows: Sequence[RunRow], config: Config, choice: RunChoice) -> None:
    chosen = choice.of(rows)
    if not chosen:
        print_line(f"None of {plural(len(rows), 'run')} is chosen: {count_states(rows)}")
        return
    groups = group_by_experiment(chosen, find_records(config.runs_dir))
    show_status(groups, hours=sum(row.device_hours for row in chosen))
    if choice.is_one_run and len(chosen) == 1:
        _show_details(chosen[0], groups[0], config)
    else:
        _print_next_command(of_submitted_plans(rows, config.runs_dir))
        _print_answers(rows, config.runs_dir)


def _show_details(row: RunRow, group: RunGroup, config: Config) -> None:
    """Everything about one run, of which its line shows the beginning."""
    title = f"{group.labels[row.run_id]}: {row.title}" if row.run_id in group.labels else row.title
    facts = {
        "what": title,
        "reason": row.reason,
        "last": row.metric,
        "attempts": str(row.attempt or ""),
        "hours": f"{row.device_hours:.2f}",
        "job": row.job,
        "log": str(RunFolder(config.runs_dir / row.run_id).log),
    }
    for name, fact in facts.items():
        if fact:
            print_line(f"{name}: {fact}")


def _print_answers(rows: Sequence[RunRow], runs_dir: Path) -> None:
    """Print what holds for the whole study: a pause, a limit on jobs, and nodes that it avoids."""
    if reason := reason_of_pause(runs_dir):
        print_line(pause_line(reason))
    left = sum(row.state == "planned" and not row.job for row in rows)
    if left and (limit := met_job_limit(runs_dir)):
        print_line(
            f"SLURM took no more jobs ({limit}), so {plural(left, 'run')} of the last submit "
            f"{'stays' if left == 1 else 'stay'} planned. When some have ended: {resume_command()}"
        )
    lost = load_lost_nodes(runs_dir)
    if nodes := avoided_nodes(lost):
        again = shell_line("rm", lost_nodes_file(runs_dir))
        print_line(
            f"No new job goes to {', '.join(nodes)}, which {MAX_RUNS} runs or more have lost. "
            f"To use all nodes again: {again}"
        )


def _as_json(rows: Sequence[RunRow], config: Config) -> list[dict[str, Any]]:
    """The rows, each with the experiments that need it."""
    experiments = experiments_of(group_by_experiment(rows, find_records(config.runs_dir)))
    return [{**row, "experiments": experiments[row["run_id"]]} for row in rows_as_json(tuple(rows))]


def _print_next_command(rows: Sequence[RunRow]) -> None:
    """Print the command that helps now. `rows` are the runs of submitted plans."""
    if failed := next((row for row in rows if row.state == "failed"), None):
        print_line(f"Why one failed: {logs_command(failed.run_id)}")
        print_line(f"Try failed runs again: {resume_command(retry_failed=True)}")
    idle = Counter(row.state for row in rows if row.state in IDLE)
    if idle:
        counts = ", ".join(f"{num} {state}" for state, num in idle.items())
        print_line(f"No process works on {counts}. Resume: {resume_command()}")
    if unread := [row.run_id for row in rows if row.state == "unreadable"]:
        print_line(
            f"{plural(len(unread), 'run')} cannot be read, and no command starts what may be done. "
            f"Why: {status_command(unread[0])}"
        )
    if rows and all(row.state == "done" for row in rows):
        print_line(f"Next: {report_command()}")
