"""The local queue with real processes."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.launching import LAUNCH_SHELL, STAND_IN, act, config_in, events, ids, plan_of
from support.wait import wait_until

from kdbatch.base.errors import UserError
from kdbatch.base.locks import is_held
from kdbatch.launch.local.run import LocalOutcome, run_locally
from kdbatch.launch.run_folders import write_runs
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import Status, load_status


def run(plan: Plan, config: Config, *, jobs: int = 2) -> LocalOutcome:
    return run_locally(plan, config=config, jobs=jobs, command=STAND_IN)


def states(outcome: LocalOutcome) -> dict[str, str]:
    return {row.title: row.state for row in outcome.rows}


def status_of(folder: RunFolder) -> Status:
    status = load_status(folder.status)
    assert status is not None
    return status


def start_queue(
    shape: dict[str, tuple[str, ...]], folder: Path, *, command: tuple[str, ...] = STAND_IN
) -> "subprocess.Popen[str]":
    """A queue in a process of its own, for what is done to processes."""
    shell = Path(LAUNCH_SHELL)
    return subprocess.Popen(
        [sys.executable, str(shell), "run", str(folder), json.dumps(shape), *command],
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(queue: "subprocess.Popen[str]") -> tuple[int, str]:
    output, _ = queue.communicate(timeout=20)
    return queue.returncode, output


def test_parents_end_before_their_children_begin(tmp_path):
    plan, config = (
        plan_of({"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}),
        config_in(tmp_path),
    )
    assert run(plan, config).complete
    seen = events(plan, config)
    assert all(
        seen.index(f"end {p}") < seen.index(f"begin {c}") for p, c in ("ab", "ac", "bd", "cd")
    )


def test_a_run_does_not_wait_for_a_run_of_its_wave_that_it_does_not_need(tmp_path):
    plan, config = plan_of({"slow": (), "quick": (), "child": ("quick",)}), config_in(tmp_path)
    act(plan, config, "slow", steps=60, step_seconds=0.05)
    run(plan, config)
    seen = events(plan, config)
    assert seen.index("end child") < seen.index("end slow")


def test_no_more_runs_than_slots_at_once(tmp_path):
    plan, config = plan_of(dict.fromkeys("abcd", ())), config_in(tmp_path)
    running = most = 0
    run(plan, config, jobs=2)
    for line in events(plan, config):
        running += 1 if line.startswith("begin") else -1
        most = max(most, running)
    assert most <= 2


def test_the_longest_ready_run_starts_first(tmp_path):
    plan, config = (
        plan_of({"a": (), "b": (), "c": ()}, cost={"a": 1, "b": 3, "c": 2}),
        config_in(tmp_path),
    )
    run(plan, config, jobs=1)
    assert [line for line in events(plan, config) if line.startswith("begin")] == [
        "begin b",
        "begin c",
        "begin a",
    ]


def test_a_failed_run_blocks_its_descendants_and_nothing_else(tmp_path):
    plan, config = plan_of({"a": (), "b": ("a",), "c": ("b",), "other": ()}), config_in(tmp_path)
    act(plan, config, "a", exit=1, reason="ValueError: no such thing")
    outcome = run(plan, config)
    assert states(outcome) == {"a": "failed", "b": "blocked", "c": "blocked", "other": "done"}
    reasons = {row.title: row.reason for row in outcome.rows}
    assert reasons["a"].startswith("ValueError: no such thing; see ") and reasons["a"].endswith(
        "log.txt"
    )
    assert (reasons["b"], reasons["c"]) == (
        f"parent {ids(plan)['a']} is failed",
        f"parent {ids(plan)['b']} is blocked",
    )


def test_a_run_whose_parent_is_in_no_plan_and_not_done_is_blocked(tmp_path):
    whole, config = plan_of({"a": (), "b": ("a",)}), config_in(tmp_path)
    child = Plan(records=whole.records, runs=whole.runs[1:], waves=whole.waves[1:])
    assert "not part of this plan" in run(child, config).rows[0].reason


def test_a_killed_worker_is_started_again(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    act(plan, config, "a", sigkill_times=2)
    outcome = run(plan, config)
    assert (outcome.rows[0].state, outcome.rows[0].attempt) == ("done", 3)


def test_a_worker_that_is_killed_three_times_has_failed_and_so_has_its_status(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    act(plan, config, "a", sigkill_times=99)
    outcome = run(plan, config)
    assert (outcome.rows[0].state, events(plan, config)) == ("failed", ["begin a"] * 3)
    status = load_status(RunFolder(config.runs_dir / ids(plan)["a"]).status)
    assert status and (status.state, status.ended) == ("failed", {"crash": 3})
    assert status.reason.startswith(
        "was killed or crashed 3 times, and retries.crash in kdbatch.toml is 2"
    )


def test_a_worker_that_dies_before_its_first_status_is_not_started_for_ever(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    outcome = run_locally(plan, config=config, jobs=1, command=("bash", "-c", "kill -9 $$"))
    assert outcome.rows[0].reason.startswith("killed by SIGKILL before it began, 3 times")


def test_a_worker_that_saved_and_stopped_goes_on(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    act(plan, config, "a", stop_times=3)
    assert run(plan, config).rows[0].attempt == 4


def test_a_worker_that_exits_with_0_but_without_results_has_failed(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    outcome = run_locally(plan, config=config, jobs=1, command=(sys.executable, "-c", "pass"))
    assert "no done.json" in outcome.rows[0].reason


def test_the_reason_of_an_earlier_attempt_does_not_explain_this_one(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    act(plan, config, "a", exit=1, reason="an old reason")
    run(plan, config)
    row = run_locally(
        plan, config=config, jobs=1, command=(sys.executable, "-c", "raise SystemExit(9)")
    ).rows[0]
    assert row.reason.startswith("exit code 9; see ")
    assert status_of(RunFolder(config.runs_dir / row.run_id)).reason == "exit code 9"


def test_the_output_of_a_worker_is_in_its_log(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    run_locally(
        plan,
        config=config,
        jobs=1,
        command=(sys.executable, "-c", "import sys; print('out'); sys.exit('err')"),
    )
    assert set(RunFolder(config.runs_dir / ids(plan)["a"]).log.read_text().split()) == {
        "out",
        "err",
    }


def test_a_finished_plan_starts_nothing(tmp_path):
    plan, config = plan_of({"a": (), "b": ("a",)}), config_in(tmp_path)
    run(plan, config)
    before = events(plan, config)
    assert run(plan, config).complete
    assert events(plan, config) == before


def test_each_slot_has_its_own_gpu(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    plan, config = plan_of({"a": (), "b": ()}), config_in(tmp_path)
    for name in "ab":
        act(plan, config, name, steps=10, step_seconds=0.03)
    run(plan, config, jobs=2)
    begun = [
        line.split()
        for line in (config.runs_dir / "events.txt").read_text().splitlines()
        if line.startswith("begin")
    ]
    assert sorted(line[3] for line in begun) == ["3", "5"]


def test_progress_shows_the_step_of_each_run(tmp_path):
    plan, config = plan_of({"a": (), "b": ("a",)}), config_in(tmp_path)
    act(plan, config, "a", steps=40, step_seconds=0.05)
    seen = []
    run_locally(plan, config=config, jobs=1, command=STAND_IN, progress=seen.append)
    assert any(
        a.state == "running" and 0 < a.step < a.num_steps == 40 and a.metric and b.state == "queued"
        for a, b in seen
    )
    assert [row.state for row in seen[-1]] == ["done", "done"]


def test_after_an_error_of_the_caller_no_worker_runs_on(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    act(plan, config, "a", steps=1000, step_seconds=0.03)
    lock = RunFolder(config.runs_dir / ids(plan)["a"]).lock

    def break_when_running(_rows: object) -> None:
        if lock.exists() and is_held(lock):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_locally(plan, config=config, jobs=1, command=STAND_IN, progress=break_when_running)
    wait_until(lambda: not is_held(lock))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_queue_saves_and_the_same_command_goes_on(tmp_path, number):
    shape = {"a": (), "b": ("a",)}
    plan, config = plan_of(shape), config_in(tmp_path)
    act(plan, config, "a", steps=100, step_seconds=0.05)
    folder = RunFolder(config.runs_dir / ids(plan)["a"])
    queue = start_queue(shape, tmp_path)
    wait_until(lambda: (status := load_status(folder.status)) is not None and status.step >= 2)
    queue.send_signal(number)
    code, output = wait_for(queue)
    assert (code, output.strip()) == (3, "1 stopped, 1 planned")
    assert status_of(folder).state == "stopped" and not is_held(folder.lock)
    act(plan, config, "a", steps=4)  # the rest need not take as long
    assert run(plan, config).complete
    assert events(plan, config) == ["begin a", "stop a", "begin a", "end a", "begin b", "end b"]


def test_a_second_ctrl_c_does_not_wait(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    code = ["import signal, time", "signal.signal(15, signal.SIG_IGN)", "print('deaf', flush=True)"]
    (tmp_path / "deaf.py").write_text("\n".join([*code, "time.sleep(60)", ""]))
    log = RunFolder(config.runs_dir / ids(plan)["a"]).log
    queue = start_queue({"a": ()}, tmp_path, command=(sys.executable, str(tmp_path / "deaf.py")))
    wait_until(lambda: log.exists() and "deaf" in log.read_text())
    queue.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        queue.wait(timeout=0.3)
    queue.send_signal(signal.SIGINT)
    assert wait_for(queue)[1].startswith("1 stopped")


def test_two_queues_at_once_run_each_run_once_and_both_end_well(tmp_path):
    shape = {"a": (), "b": (), "c": ("a", "b"), "d": ("c",)}
    plan, config = plan_of(shape), config_in(tmp_path)
    for name in "abcd":
        act(plan, config, name, steps=5, step_seconds=0.03)
    queues = [start_queue(shape, tmp_path) for _ in range(2)]
    assert [wait_for(queue) for queue in queues] == [(0, "4 done\n")] * 2
    assert sorted(events(plan, config)) == sorted(
        f"{what} {name}" for name in "abcd" for what in ("begin", "end")
    )


def test_a_run_that_fails_in_another_queue_is_not_tried_again_here(tmp_path):
    shape = {"a": ()}
    plan, config = plan_of(shape), config_in(tmp_path)
    act(plan, config, "a", steps=40, step_seconds=0.05, exit=1, reason="no luck")
    queue = start_queue(shape, tmp_path)
    wait_until(lambda: events(plan, config) == ["begin a"])
    outcome = run(plan, config)
    assert (wait_for(queue)[0], outcome.rows[0].state, outcome.rows[0].reason) == (
        3,
        "failed",
        "no luck",
    )
    assert events(plan, config) == ["begin a"]


def test_workers_end_when_their_queue_is_killed(tmp_path):
    shape = {"a": (), "b": ()}
    plan, config = plan_of(shape), config_in(tmp_path)
    folders = [RunFolder(config.runs_dir / run_id) for run_id in ids(plan).values()]
    for name in "ab":
        act(plan, config, name, steps=1000, step_seconds=0.03)
    queue = start_queue(shape, tmp_path)
    wait_until(
        lambda: all(
            (status := load_status(f.status)) is not None and status.step > 0 for f in folders
        )
    )
    os.kill(queue.pid, signal.SIGKILL)
    wait_for(queue)
    wait_until(lambda: not any(is_held(f.lock) for f in folders))
    assert [status_of(folder).state for folder in folders] == ["stopped", "stopped"]


def test_a_run_held_by_another_process_is_started_when_that_one_ends(tmp_path):
    plan, config = plan_of({"a": ()}), config_in(tmp_path)
    write_runs(plan, config=config)
    act(plan, config, "a", steps=1000, step_seconds=0.03)
    folder = RunFolder(config.runs_dir / ids(plan)["a"])
    other = subprocess.Popen([*STAND_IN, str(folder.path)])
    wait_until(lambda: (status := load_status(folder.status)) is not None and status.step > 0)
    seen = []

    def stop_other(rows) -> None:
        seen.append(rows[0].reason)
        if seen[-1] == "another process trains it" and other.poll() is None:
            act(plan, config, "a", steps=2)
            other.terminate()
            other.wait()

    outcome = run_locally(plan, config=config, jobs=1, command=STAND_IN, progress=stop_other)
    assert (outcome.rows[0].state, outcome.rows[0].attempt) == ("done", 2)


def test_no_jobs_at_a_time_is_an_error(tmp_path):
    with pytest.raises(UserError, match="--jobs 0: must be at least 1"):
        run(plan_of({"a": ()}), config_in(tmp_path), jobs=0)
