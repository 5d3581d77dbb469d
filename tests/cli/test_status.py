"""`kdbatch status` and `--watch` beside local queues, as they are typed."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from support.launching import LAUNCH_SHELL, STAND_IN, act, config_in, ids, plan_of
from support.wait import wait_until

from kdbatch.launch.live_queues import live_queues
from kdbatch.launch.run_status import load_run_rows

SHAPE = {"a": (), "b": ("a",), "c": ("b",)}


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """A local queue of three runs, one after the other, that begins to work; killed at the end."""
    monkeypatch.chdir(tmp_path)
    plan, config = plan_of(SHAPE), config_in(tmp_path)
    for name in SHAPE:
        act(plan, config, name, steps=30, step_seconds=0.1 if name == "a" else 0.02)
    process = subprocess.Popen(
        [sys.executable, LAUNCH_SHELL, "run", str(tmp_path), json.dumps(SHAPE), *STAND_IN],
        stdout=subprocess.PIPE,
    )
    wait_until(lambda: bool(live_queues(config.runs_dir)))
    yield process
    process.kill()
    process.communicate()


def status(*words: str) -> str:
    command = [sys.executable, "-m", "kdbatch", "status", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_watching_a_local_queue_ends_with_the_queue_and_not_before(queue, tmp_path):
    output = status("--watch")
    assert output.strip().splitlines()[-1].startswith("3 runs: 3 done")
    assert queue.wait(timeout=10) == 0


def test_watching_ends_when_the_queue_is_killed(queue, tmp_path):
    config = config_in(tmp_path)
    wait_until(lambda: any(row.state == "running" for row in load_run_rows(config.runs_dir)))
    os.kill(queue.pid, signal.SIGKILL)
    queue.wait()
    began = time.monotonic()
    assert "done" not in status("--watch").splitlines()[-1]
    assert time.monotonic() - began < 20


def test_the_queue_and_status_use_one_word_for_a_run_that_waits(queue, tmp_path):
    plan, config = plan_of(SHAPE), config_in(tmp_path)
    wait_until(lambda: any(row.state == "running" for row in load_run_rows(config.runs_dir)))
    assert f"{ids(plan)['c']}\tqueued" in status()
