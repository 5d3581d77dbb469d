"""The status that a worker records when attempts end, with real signals and files."""

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
from support.wait import wait_until

from kdbatch.run import heartbeat
from kdbatch.run.heartbeat import STOP_SIGNALS, StatusReporter, Stopped, StopSignal
from kdbatch.vocab.attempts.exit_rules import EXIT_USER
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.attempts.start import Start
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import Status, load_status, save_status


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield StopSignal().listen()
    for number, handler in before.items():
        signal.signal(number, handler)


def start_far_from_limit(**fields) -> Start:
    return Start(
        **{"job": "41_0", "ends_at": time.time() + 5000, "signal_seconds": 300.0, **fields}
    )


def status_of(path) -> Status:
    status = load_status(path / "status.json")
    assert status is not None
    return status


def stopped(tmp_path, stop, start) -> Status:
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop, start=start) as reporter:
        with pytest.raises(Stopped):
            reporter.raise_if_stopped()
        reporter.end("stopped")
    return status_of(tmp_path)


@pytest.mark.parametrize(
    ("numbers", "ends_in", "cause"),
    [
        ((signal.SIGUSR2,), 300, "timeout"),
        ((signal.SIGUSR2, signal.SIGTERM), 5000, "preemption"),
        ((signal.SIGTERM, signal.SIGTERM), 5000, "asked"),
        ((), 100, "timeout"),
    ],
)
def test_the_cause_of_a_stop_is_recorded(tmp_path, stop, numbers, ends_in, cause):
    for number in numbers:
        os.kill(os.getpid(), number)
    status = stopped(tmp_path, stop, start_far_from_limit(ends_at=time.time() + ends_in))
    assert (status.state, status.cause, status.job) == ("stopped", cause, "41_0")
    assert status.reason.endswith("; progress is saved")


def test_a_run_far_from_its_limit_and_without_a_signal_goes_on(tmp_path, stop):
    with StatusReporter(
        RunFolder(tmp_path), device="cpu", stop=stop, start=start_far_from_limit()
    ) as reporter:
        reporter.raise_if_stopped()


def test_a_run_that_a_dead_node_left_running_is_counted_at_the_next_start(tmp_path, stop):
    earlier = Status(
        state="running",
        attempt=2,
        step=9,
        saved_step=7,
        num_steps=20,
        seconds=600.0,
        saved_seconds=500.0,
        lost_seconds=50.0,
        job="41_0",
        ended={"timeout": 1},
    )
    save_status(tmp_path / "status.json", earlier)
    with StatusReporter(
        RunFolder(tmp_path),
        device="cpu",
        stop=stop,
        start=start_far_from_limit(restart=1, last_state="NODE_FAIL"),
    ) as reporter:
        assert (
            reporter.interruptions == {"timeout": 1, "node_failure": 1} and reporter.refusal == ""
        )
        now = status_of(tmp_path)
        assert (now.attempt, now.step, now.first_step, now.ended) == (
            3,
            9,
            7,
            {"timeout": 1, "node_failure": 1},
        )
        assert (now.saved_step, now.lost_seconds, now.unsaved_seconds < 60) == (7, 150.0, True)
        assert (now.job, now.restart) == ("41_0", 1)


def test_what_a_checkpoint_has_is_not_lost(tmp_path, stop):
    start = start_far_from_limit()
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop, start=start) as reporter:
        reporter.update(step=4, num_steps=9)
        reporter.note_saved()
        assert status_of(tmp_path).saved_step == 4  # a kill may follow
        reporter.update(step=6, num_steps=9)
        reporter.end("stopped")
    status = status_of(tmp_path)
    assert (status.step, status.saved_step, status.first_step) == (6, 4, 0)
    assert status.saved_seconds and status.unsaved_seconds < status.seconds


def test_the_checkpoint_is_believed_where_a_kill_came_before_the_status(tmp_path, stop):
    save_status(tmp_path / "status.json", Status(state="running", attempt=1, step=3, job="41_0"))
    start = start_far_from_limit(restart=1)
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop, start=start) as reporter:
        reporter.note_loaded(5)
        reporter.update(step=6, num_steps=9)
    status = status_of(tmp_path)
    assert (status.first_step, status.saved_step) == (5, 5)


def test_one_crash_too_many_is_refused_and_a_new_submission_is_not(tmp_path, stop):
    earlier = Status(state="running", attempt=2, job="41_0", ended={"crash": 1})
    save_status(tmp_path / "status.json", earlier)
    retries = Retries(crash=1)
    with StatusReporter(
        RunFolder(tmp_path),
        device="cpu",
        stop=stop,
        start=start_far_from_limit(restart=1, exits={0: "137"}),
        retries=retries,
    ) as reporter:
        assert reporter.refusal.startswith("was killed or crashed 2 times")
        reporter.end("failed", reason=reporter.refusal)
    with StatusReporter(
        RunFolder(tmp_path), device="cpu", stop=stop, start=start_far_from_limit(), retries=retries
    ) as reporter:
        assert reporter.refusal == "" and reporter.interruptions == {}


def test_time_limits_without_a_step_are_refused_at_the_third_start(tmp_path, stop):
    refusals = []
    for _ in range(3):
        with StatusReporter(
            RunFolder(tmp_path), device="cpu", stop=stop, start=start_far_from_limit()
        ) as reporter:
            refusals.append(bool(reporter.refusal))
        save_status(
            tmp_path / "status.json",
            replace(status_of(tmp_path), state="stopped", cause="timeout"),
        )
    assert refusals == [False, False, True]


def test_the_first_progress_of_an_attempt_is_written_at_once(tmp_path, stop):
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop) as reporter:
        reporter.update(step=1, num_steps=5)
        assert status_of(tmp_path).step == 1


def test_nothing_is_written_after_the_reporter_has_exited(tmp_path, stop, monkeypatch):
    started, written = threading.Event(), []

    def save_slowly(path, status) -> None:
        if threading.current_thread() is not threading.main_thread():
            started.set()
            time.sleep(0.3)
            written.append(status)
        save_status(path, status)

    monkeypatch.setattr(heartbeat, "save_status", save_slowly)
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop):
        assert started.wait(10)
    assert len(written) == 1
    time.sleep(0.6)
    assert len(written) == 1


def test_heartbeats_go_on_after_one_that_cannot_be_written(tmp_path, stop):
    path = tmp_path / "status.json"
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop):
        path.unlink()
        path.mkdir()  # no rename can replace it, as on a disk that is full for a while
        time.sleep(0.7)
        path.rmdir()
        wait_until(path.exists)
        assert status_of(tmp_path).state == "running"


def test_signals_while_the_process_ends_do_not_change_its_exit_code():
    """Python deletes the objects of modules after it has dropped its signal handlers.

    The object here delays the process at that point.
    """
    code = """
import runpy, sys, time
class Slow:
    def __del__(self, print=print, sleep=time.sleep):
        print("ending", flush=True)
        sleep(1)
sys.modules["slow"] = type(sys)("slow")
sys.modules["slow"].object = Slow()
sys.argv = ["kdbatch.run"]
runpy.run_module("kdbatch.run", run_name="__main__", alter_sys=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout and process.stdout.readline() == "ending\n"
        for number in STOP_SIGNALS:
            process.send_signal(number)
        assert process.wait(60) == EXIT_USER


def test_the_energy_of_all_attempts_is_added(tmp_path, stop, monkeypatch):
    save_status(tmp_path / "status.json", Status(state="stopped", energy_joules=100.0))
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop, watts=lambda: 1e6):
        wait_until(lambda: (status_of(tmp_path).energy_joules or 0) > 1000)
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop):
        assert (status_of(tmp_path).energy_joules or 0) > 1000
