"""What the worker's pulse says of how attempts end, with real signals and files."""

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
from kdbatch.vocab.retry_policy import EXIT_USER, Start
from kdbatch.vocab.runs import Retries, RunFolder
from kdbatch.vocab.status import Status, load_status, save_status


@pytest.fixture
def stop():
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield StopSignal().listen()
    for number, handler in before.items():
        signal.signal(number, handler)


def far(**more) -> Start:
    return Start(**{"job": "41_0", "ends_at": time.time() + 5000, "signal_seconds": 300.0, **more})


def stopped(tmp_path, stop, start) -> Status:
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop, start=start) as pulse:
        with pytest.raises(Stopped):
            pulse.raise_if_stopped()
        pulse.end("stopped")
    return load_status(tmp_path / "status.json")


@pytest.mark.parametrize(
    ("numbers", "ends_in", "cause"),
    [
        ((signal.SIGUSR2,), 300, "timeout"),
        ((signal.SIGUSR2, signal.SIGTERM), 5000, "preemption"),
        ((signal.SIGTERM, signal.SIGTERM), 5000, "asked"),
        ((), 100, "timeout"),
    ],
)
def test_why_it_was_stopped_is_recorded(tmp_path, stop, numbers, ends_in, cause):
    for number in numbers:
        os.kill(os.getpid(), number)
    status = stopped(tmp_path, stop, far(ends_at=time.time() + ends_in))
    assert (status.state, status.cause, status.job) == ("stopped", cause, "41_0")
    assert status.reason.endswith("; progress is saved")


def test_far_from_the_limit_and_without_a_signal_it_goes_on(tmp_path, stop):
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop, start=far()) as pulse:
        pulse.raise_if_stopped()


def test_a_run_that_a_dead_node_left_running_is_counted_at_the_next_start(tmp_path, stop):
    left = Status(
        state="running", attempt=2, step=9, num_steps=20, job="41_0", ended={"timeout": 1}
    )
    save_status(tmp_path / "status.json", left)
    with StatusReporter(
        RunFolder(tmp_path), device="cpu", stop=stop, start=far(restart=1, last_state="NODE_FAIL")
    ) as pulse:
        assert pulse.interruptions == {"timeout": 1, "node_failure": 1} and pulse.refusal == ""
        now = load_status(tmp_path / "status.json")
        assert (now.attempt, now.step, now.first_step, now.ended) == (
            3,
            9,
            9,
            {"timeout": 1, "node_failure": 1},
        )
        assert (now.job, now.restart) == ("41_0", 1)


def test_one_too_many_is_refused_and_a_fresh_try_is_not(tmp_path, stop):
    left = Status(state="running", attempt=2, job="41_0", ended={"crash": 1})
    save_status(tmp_path / "status.json", left)
    retries = Retries(crash=1)
    with StatusReporter(
        RunFolder(tmp_path),
        device="cpu",
        stop=stop,
        start=far(restart=1, exits={0: "137"}),
        retries=retries,
    ) as pulse:
        assert pulse.refusal.startswith("was killed or crashed 2 times")
        pulse.end("failed", reason=pulse.refusal)
    with StatusReporter(
        RunFolder(tmp_path), device="cpu", stop=stop, start=far(), retries=retries
    ) as pulse:
        assert pulse.refusal == "" and pulse.interruptions == {}


def test_time_limits_without_a_step_are_refused_at_the_third_start(tmp_path, stop):
    refusals = []
    for _ in range(3):
        with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop, start=far()) as pulse:
            refusals.append(bool(pulse.refusal))
        save_status(
            tmp_path / "status.json",
            replace(load_status(tmp_path / "status.json"), state="stopped", cause="timeout"),
        )
    assert refusals == [False, False, True]


def test_the_first_progress_of_an_attempt_is_told_at_once(tmp_path, stop):
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop) as pulse:
        pulse.update(step=1, num_steps=5)
        assert load_status(tmp_path / "status.json").step == 1


def test_nothing_is_written_once_the_pulse_has_left(tmp_path, stop, monkeypatch):
    begun, written = threading.Event(), []

    def slowly(path, status) -> None:
        if threading.current_thread() is not threading.main_thread():
            begun.set()
            time.sleep(0.3)
            written.append(status)
        save_status(path, status)

    monkeypatch.setattr(heartbeat, "save_status", slowly)
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop):
        assert begun.wait(10)
    assert len(written) == 1
    time.sleep(0.6)
    assert len(written) == 1


def test_a_beat_that_cannot_be_written_is_not_the_last(tmp_path, stop):
    place = tmp_path / "status.json"
    with StatusReporter(RunFolder(tmp_path), device="cpu", stop=stop):
        place.unlink()
        place.mkdir()  # what no rename can replace, as on a disk that is full for a while
        time.sleep(0.7)
        place.rmdir()
        wait_until(place.exists)
        assert load_status(place).state == "running"


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_while_the_process_ends_does_not_change_its_exit_code(number):
    """Objects of modules are let go when Python has forgotten its handlers: this one holds the
    process there.
    """
    code = """
import runpy, sys, time
class Slow:
    def __del__(self, print=print, sleep=time.sleep):
        print("ending", flush=True)
        sleep(1)
sys.modules["slow"] = type(sys)("slow")
sys.modules["slow"].held = Slow()
sys.argv = ["kdbatch.run"]
runpy.run_module("kdbatch.run", run_name="__main__", alter_sys=True)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout and process.stdout.readline() == "ending\n"
        process.send_signal(number)
        assert process.wait(60) == EXIT_USER
