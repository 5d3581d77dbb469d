"""Which local queues count as alive, with real processes."""

import os
import signal
import subprocess
import sys

from support.launching import LAUNCH_SHELL, STAND_IN, act, config_in, ids, plan_of
from support.wait import wait_until

from kdbatch.launch.live_queues import announce_queue, live_queues
from kdbatch.launch.local.run import run_locally
from kdbatch.launch.run_status import load_run_rows


def test_a_queue_counts_while_it_lives_and_leaves_no_file(tmp_path):
    assert live_queues(tmp_path) == ()
    with announce_queue(tmp_path) as publish:
        publish(["r1", "r2"])
        (queue,) = live_queues(tmp_path)
        assert (queue.pid, queue.waiting) == (os.getpid(), ("r1", "r2"))
    assert live_queues(tmp_path) == () and not list((tmp_path / "queues").iterdir())


def test_a_queue_that_was_killed_does_not_count_and_the_next_one_removes_its_file(tmp_path):
    script = (
        "import sys, time, pathlib\n"
        "from kdbatch.launch.live_queues import announce_queue\n"
        "with announce_queue(pathlib.Path(sys.argv[1])) as publish:\n"
        "    publish(['r1'])\n"
        "    time.sleep(60)\n"
    )
    queue = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)])
    wait_until(lambda: any(q.waiting for q in live_queues(tmp_path)))
    os.kill(queue.pid, signal.SIGKILL)
    queue.wait()
    assert live_queues(tmp_path) == () and len(list((tmp_path / "queues").iterdir())) == 2
    with announce_queue(tmp_path):
        assert [q.pid for q in live_queues(tmp_path)] == [os.getpid()]
    assert not list((tmp_path / "queues").iterdir())


def test_a_run_that_waits_in_a_live_queue_is_queued_for_every_reader(tmp_path):
    plan, config = plan_of({"a": (), "b": ("a",), "c": ("b",)}), config_in(tmp_path)
    act(plan, config, "a", steps=10, step_seconds=0.05)
    seen = []

    def compare_with_files(rows) -> None:
        there = {row.title: row.state for row in load_run_rows(config.runs_dir)}
        seen.append(({row.title: row.state for row in rows}, there))

    run_locally(plan, config=config, jobs=1, command=STAND_IN, progress=compare_with_files)
    waiting = [(here, there) for here, there in seen if here["c"] == "queued"]
    assert waiting and all(there["c"] == "queued" for _, there in waiting)


def test_a_failed_run_that_the_queue_will_try_again_is_queued_and_does_not_block(tmp_path):
    plan, config = plan_of({"first": (), "a": (), "b": ("a",)}), config_in(tmp_path)
    act(plan, config, "a", exit=1, reason="no luck")
    run_locally(plan, config=config, jobs=1, command=STAND_IN)
    (config.runs_dir / ids(plan)["first"] / "done.json").unlink()
    act(plan, config, "first", steps=10, step_seconds=0.05)
    seen = []

    def note_states(rows) -> None:
        if rows[0].state == "running":
            seen.append({row.title: row.state for row in load_run_rows(config.runs_dir)})

    run_locally(plan, config=config, jobs=1, command=STAND_IN, progress=note_states)
    assert seen and (seen[-1]["a"], seen[-1]["b"]) == ("queued", "queued")


def test_runs_that_a_stopped_queue_did_not_start_are_planned_there_and_in_the_files(tmp_path):
    plan, config = plan_of({"a": (), "b": ("a",)}), config_in(tmp_path)
    act(plan, config, "a", steps=1000, step_seconds=0.05)
    shape = '{"a": [], "b": ["a"]}'
    queue = subprocess.Popen(
        [sys.executable, LAUNCH_SHELL, "run", str(tmp_path), shape, *STAND_IN],
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: any(row.step for row in load_run_rows(config.runs_dir)))
    queue.send_signal(signal.SIGINT)
    output, _ = queue.communicate(timeout=20)
    assert "1 stopped" in output and "1 planned" in output
    states = {row.title: row.state for row in load_run_rows(config.runs_dir)}
    assert states == {"a": "stopped", "b": "planned"}
