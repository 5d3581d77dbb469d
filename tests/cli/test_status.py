"""`kdbatch status` as it is typed: its lines, its filters, and `--watch` next to local queues."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import pytest
from support.launching import LAUNCH_SHELL, RECORD, STAND_IN, act, config_in, ids, plan_of
from support.terminal import on_terminal
from support.wait import wait_until

from kdbatch.launch.live_queues import live_queues
from kdbatch.launch.run_folders import write_runs
from kdbatch.launch.run_groups import seconds_left
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.done import Done, StageFacts, save_done
from kdbatch.vocab.plans.plan import PlannedRun
from kdbatch.vocab.plans.records import Cell, RecordedRun
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import RunState, Status, save_status

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
    assert "3 runs: 3 done" in output
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


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Two experiments that share run a; runs in several states, and one of no plan."""
    monkeypatch.chdir(tmp_path)
    config = config_in(tmp_path)
    plan, alone = plan_of({"a": (), "b": ("a",), "c": ()}), plan_of({"x": (), "y": (), "z": ()})
    a, b, c = (RecordedRun(id=i, title=f"{t} {LONG}", kind="compare") for t, i in ids(plan).items())
    cells = tuple(
        Cell(role="student", case={"subset": value, "only": "1"}, seed=0, run_id=b.id)
        for value in ("10k", "30k")
    )
    axes = {"subset": ("10k", "30k"), "only": ("1",)}
    first = replace(RECORD, experiment="one", axes=axes, cells=cells, runs=(a, b))
    second = replace(RECORD, experiment="two", runs=(a, c))
    plan = replace(
        plan,
        records=(first, second),
        runs=tuple(replace(p, title=f"{p.title} {LONG}") for p in plan.runs),
    )
    write_runs(plan, config=config)
    last = next(p for p in alone.runs if p.title == "z")  # its seed, 2, is also that of c
    write_runs(replace(alone, records=(), runs=(changed_seed(last),)), config=config)
    folders = {name: RunFolder(config.runs_dir / run_id) for name, run_id in ids(plan).items()}
    now = time.time()
    save_status(
        folders[f"a {LONG}"].status,
        Status(state="failed", heartbeat_at=now, reason=f"ValueError: no such {LONG}"),
    )
    save_status(
        folders[f"c {LONG}"].status,
        Status(
            state="running",
            heartbeat_at=now,
            step=30,
            num_steps=60,
            seconds=30.0,
            metric="train 56.2 %, loss 1.23",
            pid=os.getpid(),
            host=socket.gethostname(),
        ),
    )
    return {name[0]: folder.id for name, folder in folders.items()}


LONG = "with a title that is longer than a line of a terminal of eighty columns, its end, seed 0"


def changed_seed(item: PlannedRun) -> PlannedRun:
    return replace(item, run=replace(item.run, seed=99), title="z of no plan")


def test_a_terminal_has_one_line_per_run_under_its_experiment(study, tmp_path):
    lines = on_terminal("status", cwd=tmp_path).lines
    assert lines[0].split() == ["run", "state", "done", "left", "last", "what"]
    assert lines[1] == "one.toy: 2 runs: 1 failed, 1 blocked"
    assert [line.split()[:2] for line in lines[2:4]] == [
        [study["a"], "failed"],
        [study["b"], "blocked"],
    ]
    assert "student 10k +1: parent" in lines[3]
    assert lines[4] == "two.toy: 2 runs: 1 failed, 1 running" or lines[4] == (
        "two.toy: 2 runs: 1 running, 1 failed"
    )
    assert lines[5].split()[:5] == [study["c"], "running", "50%", "30", "s"]
    assert "train 56.2 %, loss 1.23" in lines[5]
    assert lines[6] == "and 1 run of experiments above: 1 failed"
    assert lines[7] == "of no submitted plan: 1 run: 1 planned"
    assert lines[9].startswith("4 runs: ")
    assert all(len(line) <= 80 for line in lines[:10])


def test_piped_lines_have_a_header_and_stable_columns(study):
    lines = status().splitlines()
    assert lines[0].split("\t") == ["run", "state", "done", "what", "last", "experiments"]
    rows = {line.split("\t")[0]: line.split("\t") for line in lines if "\t" in line}
    assert len(rows) == 5 and all(len(row) == 6 for row in rows.values())
    assert rows[study["a"]][5] == "one.toy,two.toy" and rows[study["b"]][5] == "one.toy"
    assert rows[study["c"]][1:5] == ["running", "50%", f"c {LONG}", "train 56.2 %, loss 1.23"]
    assert {row["run_id"]: row["experiments"] for row in json.loads(status("--json"))}[
        study["a"]
    ] == ["one.toy", "two.toy"]


def test_states_files_profiles_and_ids_choose_runs(study):
    def chosen(*words: str) -> set[str]:
        return {row["run_id"] for row in json.loads(status("--json", *words))}

    a, b, c = (study[name] for name in "abc")
    assert chosen("--state=failed") == {a}
    assert chosen("--state", "failed,running") == {a, c}
    assert chosen(b[:7], c[1:7]) == {b, c}
    assert chosen("--profile=toy") == {a, b, c}
    assert chosen("--profile=toy", "--state=blocked") == {b}
    assert "None of 4 runs is chosen" in status("--state=lost")
    details = status(a)
    assert f"reason: ValueError: no such {LONG}" in details
    assert f"log: runs/{a}/log.txt" in details or f"{a}/log.txt" in details


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--state=faild"], "Did you mean 'failed'?"),
        (["zzz"], "No run id begins with 'zzz'"),
        (["other.yaml"], "nothing of other.yaml was submitted"),
    ],
)
def test_a_choice_of_nothing_is_an_error_with_a_remedy(study, words, says):
    command = [sys.executable, "-m", "kdbatch", "status", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1


def test_the_time_left_is_that_of_the_kinds_that_are_done():
    def row(number: int, state: RunState, **more: Any) -> RunRow:
        return RunRow(run_id=f"r{number}", title="", kind="finetune", state=state, **more)

    done = row(1, "done", device_hours=0.1)
    running = row(2, "running", step=1, num_steps=2, eta_seconds=100.0)
    waiting = [row(3, "queued"), row(4, "queued")]
    assert seconds_left([done, running, *waiting]) == 100 + 2 * 360
    assert seconds_left([done, running, replace(running, run_id="r9"), *waiting]) == 100 + 360
    assert seconds_left([row(5, "queued")]) is None and seconds_left([done]) is None


def test_a_terminal_that_watches_shows_a_bar_for_all_runs(queue, tmp_path):
    screen = on_terminal("status", "--watch", cwd=tmp_path)
    bars = [line for line in screen.lines if "━" in line]
    assert any(re.search(r"\d+%  (about .* left, )?3 runs: ", line) for line in bars)
    assert all(len(line) <= 80 for line in bars) and screen.code == 0
    assert "3 runs: 3 done" in "\n".join(screen.lines)


def test_the_costs_are_those_of_each_experiment_with_what_was_lost_and_what_it_needed(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    plan, config = plan_of({"a": (), "b": ()}), config_in(tmp_path)
    write_runs(plan, config=config)
    a, b = (RunFolder(config.runs_dir / run_id) for run_id in ids(plan).values())
    ended = Status(state="failed", seconds=7200.0, saved_seconds=3600.0, lost_seconds=900.0)
    save_status(a.status, replace(ended, state="done", energy_joules=3.6e6))
    save_done(a.done, Done(run_id=a.id, kind="finetune", facts=StageFacts(idle_percent=20.0)))
    save_status(b.status, ended)
    (costs,) = json.loads(status("--costs", "--json"))
    assert (costs["device_hours"], costs["lost_hours"], costs["done"]) == (4.0, 0.25 + 1.25, 1)
    assert (costs["idle_percent"], costs["energy_kwh"], costs["measured_runs"]) == (20.0, 1.0, 1)
    _, line = status("--costs").splitlines()
    assert line.split()[-6:] == ["2", "1", "4.00", "1.50", "20%", "1.00"] and len(line) <= 80
