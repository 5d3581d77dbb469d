"""A watcher reads what is settled once, and still notices what a person or a submit changes."""

import dataclasses
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.file_calls import FileCalls
from support.launching import config_in, plan_of, submitted

from kdbatch.launch.live_queues import announce_queue
from kdbatch.launch.run_folders import write_runs
from kdbatch.launch.run_status import RunWatcher
from kdbatch.launch.slurm.squeue.shared_answers import QueueAnswer
from kdbatch.launch.states.seen_runs import LOOKS_PER_ROUND
from kdbatch.vocab.config import Config
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import Status, save_status

NUM_DONE, NUM_RUNNING, NUM_PLANNED = 240, 5, 40
STUDY_CALLS = 20  # for the folders of runs, plans, queues and submissions, and where these are


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return config_in(tmp_path)


@pytest.fixture
def folders(config: Config) -> list[RunFolder]:
    """The runs of a study: those that are done, then those that are running, then planned ones."""
    names = {f"n{i:03d}": () for i in range(NUM_DONE + NUM_RUNNING + NUM_PLANNED)}
    plan = plan_of(names)
    write_runs(plan, config=config)
    folders = [RunFolder(config.runs_dir / item.run.id) for item in plan.runs]
    for folder in folders[:NUM_DONE]:
        write_status(folder, state="done", metric="first")
        folder.done.write_text("{}")
    for folder in folders[NUM_DONE : NUM_DONE + NUM_RUNNING]:
        write_status(folder, state="running", step=1)
    return folders


def write_status(folder: RunFolder, **what: object) -> None:
    status = Status(state="running", attempt=1, num_steps=9, host="elsewhere", pid=1)
    save_status(folder.status, dataclasses.replace(status, heartbeat_at=time.time(), **what))


def states(watcher: RunWatcher) -> dict[str, str]:
    return {row.run_id: row.state for row in watcher.look()}


@pytest.fixture
def count_calls(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], int]:
    calls = FileCalls().install(monkeypatch)

    def count(act: Callable[[], object]) -> int:
        calls.counts.clear()
        act()
        return calls.counts.total()

    return count


def test_a_look_costs_a_call_for_each_run_that_moves_and_a_few_for_the_others(
    config, folders, count_calls
) -> None:
    watcher = RunWatcher(config.runs_dir)
    first = count_calls(watcher.look)
    assert first >= 2 * NUM_DONE  # the counter counts
    checks = -(-len(folders) // LOOKS_PER_ROUND)
    for _ in range(3):
        assert count_calls(watcher.look) <= NUM_RUNNING + checks + STUDY_CALLS


def test_a_submitted_run_that_waits_costs_one_call_a_look(config, folders, count_calls) -> None:
    planned = folders[-NUM_PLANNED:]
    job_ids = submitted(config, *(folder.id for folder in planned)).job_ids
    jobs = QueueAnswer(holds=dict.fromkeys(job_ids, ""))
    watcher = RunWatcher(config.runs_dir)
    watcher.look(live=jobs)
    checks = -(-len(folders) // LOOKS_PER_ROUND)
    num_moving = NUM_RUNNING + NUM_PLANNED
    assert count_calls(lambda: watcher.look(live=jobs)) <= num_moving + checks + STUDY_CALLS


def test_a_run_that_ends_or_starts_is_noticed_at_the_next_look(config, folders) -> None:
    running, waiting = folders[NUM_DONE], folders[-1]
    submitted(config, waiting.id)
    watcher = RunWatcher(config.runs_dir)
    assert states(watcher)[waiting.id] == "queued"
    running.done.write_text("{}")
    write_status(running, state="done")
    write_status(waiting, state="running", job="41")
    after = states(watcher)
    assert (after[running.id], after[waiting.id]) == ("done", "running")


def test_a_finished_run_that_is_deleted_or_submitted_again_is_noticed_at_the_next_look(
    config, folders
) -> None:
    deleted, again, local = folders[:3]
    watcher = RunWatcher(config.runs_dir)
    watcher.look()
    shutil.rmtree(deleted.path)
    again.done.unlink()
    again.status.unlink()
    submitted(config, again.id)
    local.done.unlink()
    with announce_queue(config.runs_dir) as publish:
        publish([local.id])
        after = states(watcher)
        assert deleted.id not in after
        assert (after[again.id], after[local.id]) == ("queued", "queued")
        publish([])
        write_status(local, state="running")
        assert states(watcher)[local.id] == "running"


@pytest.mark.parametrize("change", ["deleted", "replaced"])
def test_a_result_that_a_person_changes_is_noticed_within_a_round_of_looks(
    config, folders, change: str
) -> None:
    folder = folders[7]
    watcher = RunWatcher(config.runs_dir)
    watcher.look()
    folder.done.unlink()
    write_status(folder, state="failed" if change == "deleted" else "done", metric="second")
    if change == "replaced":
        folder.done.write_text("{} ")
    shown = set()
    for _ in range(2 * LOOKS_PER_ROUND):
        shown |= {(row.metric, row.state) for row in watcher.look() if row.run_id == folder.id}
    assert shown == {("first", "done"), ("second", "failed" if change == "deleted" else "done")}


def test_watching_shows_what_one_look_shows(config, folders) -> None:
    watcher = RunWatcher(config.runs_dir)
    watcher.look()
    assert watcher.look() == RunWatcher(config.runs_dir).look()
