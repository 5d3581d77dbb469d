"""The state of each run, from the files of its folder and of its job."""

import dataclasses
import json
import os
import socket
import subprocess
import sys
import time

import pytest
from support.launching import STAND_IN, act, config_in, ids, plan_of, submitted
from support.wait import wait_until

from kdbatch.base.locks import hold_lock, is_held
from kdbatch.launch.run_folders import submissions_dir, write_runs
from kdbatch.launch.run_status import load_run_rows, rows_as_json
from kdbatch.launch.slurm.answers import read_queue
from kdbatch.launch.slurm.squeue.shared_answers import QueueAnswer
from kdbatch.launch.states.run_row import run_row
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import STALE_SECONDS, Status, load_status, save_status

NOW = Status(
    state="running",
    attempt=1,
    step=10,
    num_steps=40,
    seconds=20.0,
    host="elsewhere",
    pid=1,
    metric="loss 1.2",
)


@pytest.fixture
def study(tmp_path):
    plan, config = plan_of({"a": (), "b": ("a",), "c": ("b",)}), config_in(tmp_path)
    write_runs(plan, config=config)
    return config.runs_dir, {
        name: RunFolder(config.runs_dir / run_id) for name, run_id in ids(plan).items()
    }


def states(runs_dir):
    return {row.title: row.state for row in load_run_rows(runs_dir)}


def let_heartbeat_be(folder, seconds, *, ahead):
    """The worker wrote its last status so many seconds ago, and this machine's clock is `ahead` of
    its node's.
    """
    now = time.time()
    save_status(folder.status, dataclasses.replace(NOW, heartbeat_at=now - seconds - ahead))
    os.utime(folder.status, (now - seconds, now - seconds))


def write_status(folder, **what):
    save_status(folder.status, dataclasses.replace(NOW, heartbeat_at=time.time(), **what))


def test_a_run_that_was_only_written_is_planned(study):
    assert states(study[0]) == {"a": "planned", "b": "planned", "c": "planned"}


def test_a_submitted_run_is_queued_until_its_worker_writes_a_status_and_again_when_resubmitted(
    study,
):
    runs_dir, folders = study
    config = config_in(runs_dir.parent)
    submitted(config, folders["a"].id, folders["b"].id)
    assert (load_run_rows(runs_dir)[0].state, load_run_rows(runs_dir)[0].job) == ("queued", "41_0")
    write_status(folders["a"], state="failed")
    assert states(runs_dir)["a"] == "failed"
    submitted(config, folders["a"].id, number="42", at=time.time() + 1)
    assert states(runs_dir)["a"] == "queued"


@pytest.mark.parametrize(
    ("job", "ahead", "state"), [("41_0", 100, "failed"), ("40_0", -100, "queued")]
)
def test_a_status_belongs_to_the_job_that_it_names_whatever_the_clock_of_the_node(
    study, job, ahead, state
):
    runs_dir, folders = study
    submitted(config_in(runs_dir.parent), folders["a"].id, folders["b"].id, at=time.time() + ahead)
    write_status(folders["a"], state="failed", job=job)
    assert states(runs_dir)["a"] == state


def test_a_status_of_the_local_queue_is_not_explained_by_an_older_job(study):
    runs_dir, folders = study
    submitted(config_in(runs_dir.parent), folders["a"].id, at=1.0)
    (submissions_dir(runs_dir) / "41" / "41.ended").write_text("0 1 out of memory\n")
    save_status(folders["a"].status, dataclasses.replace(NOW, heartbeat_at=2.0))
    assert load_run_rows(runs_dir, live=QueueAnswer())[0].state == "lost"


def test_a_run_whose_job_left_the_queue_before_it_began_is_planned_again(study):
    runs_dir, folders = study
    config = config_in(runs_dir.parent)
    submitted(config, folders["a"].id)
    submitted(config, folders["b"].id, number="42")
    rows = load_run_rows(runs_dir, live=QueueAnswer(holds={"41": ""}))
    assert [row.state for row in rows] == ["queued", "planned", "planned"]
    assert "job 42 left the queue" in rows[1].reason


@pytest.mark.parametrize(
    "reason",
    ["launch failed requeued held", "job_requeued_in_held_state", "JobHeldAdmin"],
)
def test_a_job_that_slurm_holds_for_ever_is_told(study, reason):
    runs_dir, folders = study
    submitted(config_in(runs_dir.parent), folders["a"].id)
    (job,) = read_queue(f"41|kdbatch-x|PENDING|{reason}")
    row = load_run_rows(runs_dir, live=QueueAnswer(holds={job.id: job.hold}))[0]
    assert row.state == "queued"
    assert row.reason == (
        f"SLURM holds its job ({reason}); see why: scontrol show job 41; then: scontrol release 41"
    )


@pytest.mark.parametrize("live", [None, QueueAnswer()])
def test_a_run_whose_worker_ended_without_a_status_has_failed_and_names_its_log(study, live):
    runs_dir, folders = study
    submitted(config_in(runs_dir.parent), *(folders[name].id for name in "abc"))
    job = submissions_dir(runs_dir) / "41"
    (job / "41_0.ended").write_text("0 2\n")
    (job / "41_0_0_log.err").touch()
    folders["a"].log.write_text("kdbatch: no shards\n")
    rows = load_run_rows(runs_dir, live=live)
    assert [row.state for row in rows] == ["failed", "blocked", "blocked"]
    assert rows[0].reason == f"its job ended by itself (exit code 2); see {folders['a'].log}"


def test_a_run_whose_job_may_be_requeued_is_queued_until_squeue_does_not_list_it(study):
    runs_dir, folders = study
    submitted(config_in(runs_dir.parent), folders["a"].id, folders["b"].id)
    (submissions_dir(runs_dir) / "41" / "41_0.ended").write_text("0 255\n")
    answers = (None, QueueAnswer(holds={"41_0": ""}), QueueAnswer())
    assert [load_run_rows(runs_dir, live=live)[0].state for live in answers] == [
        "queued",
        "queued",
        "planned",
    ]


def test_a_running_run_shows_its_progress_and_its_remaining_time(study):
    write_status(study[1]["a"])
    row = load_run_rows(study[0])[0]
    assert (row.state, row.step, row.num_steps, row.eta_seconds, row.metric) == (
        "running",
        10,
        40,
        60.0,
        "loss 1.2",
    )
    assert row.device_hours == pytest.approx(20 / 3600, abs=1e-4)


def test_a_run_without_heartbeats_is_stale_while_its_lock_is_held_and_lost_when_it_is_free(study):
    runs_dir, folders = study
    let_heartbeat_be(folders["a"], STALE_SECONDS + 1, ahead=0.0)
    with hold_lock(folders["a"].lock):
        assert states(runs_dir)["a"] == "stale"
    assert states(runs_dir) == {"a": "lost", "b": "blocked", "c": "blocked"}


@pytest.mark.parametrize(
    ("age", "ahead", "state"),
    [(5, 90, "running"), (5, -90, "running"), (90, -150, "stale"), (90, 90, "stale")],
)
def test_a_viewer_whose_clock_differs_from_the_nodes_sees_how_old_the_last_heartbeat_is(
    study, age, ahead, state
):
    runs_dir, folders = study
    let_heartbeat_be(folders["a"], age, ahead=ahead)
    before = sorted(runs_dir.iterdir())
    with hold_lock(folders["a"].lock):
        assert states(runs_dir)["a"] == state
    assert sorted(runs_dir.iterdir()) == before


def test_a_copy_of_a_run_that_ended_long_ago_is_lost_although_its_files_are_new(study):
    runs_dir, folders = study
    save_status(folders["a"].status, dataclasses.replace(NOW, heartbeat_at=time.time() - 7200))
    assert states(runs_dir)["a"] == "lost"


def test_a_run_killed_on_this_machine_is_lost_at_once(study):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_status(study[1]["a"], host=socket.gethostname(), pid=ended.pid)
    assert states(study[0])["a"] == "lost"
    write_status(study[1]["a"], host=socket.gethostname(), pid=os.getpid())
    assert states(study[0])["a"] == "running"


def test_a_failed_run_blocks_its_descendants_with_a_reason(study):
    write_status(study[1]["a"], state="failed", reason="no such shard")
    rows = load_run_rows(study[0])
    assert [row.state for row in rows] == ["failed", "blocked", "blocked"]
    assert [row.reason for row in rows] == [
        "no such shard",
        f"parent {rows[0].run_id} is failed",
        f"parent {rows[1].run_id} is blocked",
    ]


def test_a_run_with_done_json_is_done_whatever_its_status(study):
    study[1]["a"].done.write_text("{}")
    write_status(study[1]["a"])
    assert states(study[0])["a"] == "done"


def test_a_damaged_run_is_shown_and_hides_no_other(study):
    study[1]["a"].assignment.write_text('{"run": ')
    rows = {row.run_id: row for row in load_run_rows(study[0])}
    assert (
        rows[study[1]["a"].id].state == "damaged" and "is not JSON" in rows[study[1]["a"].id].reason
    )
    assert rows[study[1]["b"].id].state == "blocked"


def test_a_missing_folder_has_no_runs(tmp_path):
    assert load_run_rows(tmp_path / "runs") == ()


def test_rows_are_json(study):
    write_status(study[1]["a"])
    assert json.loads(json.dumps(rows_as_json(load_run_rows(study[0]))))[0]["eta_seconds"] == 60.0


def test_reading_the_row_of_a_live_run_does_not_disturb_it(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    write_runs(plan, config=config)
    act(plan, config, "a", steps=20, step_seconds=0.02)
    folder = RunFolder(config.runs_dir / ids(plan)["a"])
    with subprocess.Popen([*STAND_IN, str(folder.path)]) as worker:
        wait_until(lambda: load_status(folder.status) is not None)
        while worker.poll() is None:
            assert run_row(folder, folder.load()).state in ("running", "done")
    assert worker.returncode == 0 and not is_held(folder.lock)


def test_a_job_that_found_no_space_says_so_and_has_not_failed(study):
    runs_dir, folders = study
    submitted(config_in(runs_dir.parent), *(folders[name].id for name in "abc"))
    (submissions_dir(runs_dir) / "41" / "41_0.ended").write_text("0 74\n")
    rows = load_run_rows(runs_dir, live=QueueAnswer())
    assert rows[0].state == "planned" and rows[0].reason.startswith("no space was left")
