"""status, logs, cancel and --retry-failed as they are typed, with the fake cluster on PATH or a
real local queue.
"""

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.inputs import JOBS
from support.launching import STAND_IN, act, config_in, ids, plan_of, submitted
from support.wait import wait_until

from kdbatch.base.errors import UserError
from kdbatch.base.locks import hold_lock
from kdbatch.cli import submit as submit_command_module
from kdbatch.cli.submit import submit
from kdbatch.launch.exclude_failed import exclude_failed
from kdbatch.launch.local.run import run_locally
from kdbatch.launch.logs import find_run, follow, read_last_lines
from kdbatch.launch.run_folders import submissions_dir, write_runs
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.saved_plans import SubmitRequest
from kdbatch.launch.slurm import submit as submit_module
from kdbatch.launch.slurm.cancel import cancel_runs
from kdbatch.launch.slurm.commands import queued_jobs
from kdbatch.launch.slurm.squeue.shared_answers import QueueAnswer
from kdbatch.launch.slurm.submissions import last_submissions, load_sbatches
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import RunState, Status, save_status

SHAPE = {"a": (), "b": ("a",), "c": ("b",), "other": ()}


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A study in the current folder whose runs are only written."""
    monkeypatch.chdir(tmp_path)
    plan, config = plan_of(SHAPE), config_in(tmp_path)
    write_runs(plan, config=config)
    return (
        plan,
        config,
        {name: RunFolder(config.runs_dir / run_id) for name, run_id in ids(plan).items()},
    )


def kdbatch(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "kdbatch", *words],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == code, done
    return done.stdout + done.stderr


def write_status(folder: RunFolder, state: RunState, **more: Any) -> None:
    save_status(folder.status, Status(state=state, heartbeat_at=time.time(), **more))


def test_a_failed_run_and_its_descendants_are_excluded_and_nothing_else(study):
    plan, config, folders = study
    write_status(folders["a"], "failed", reason="ValueError: no")
    excluded = exclude_failed(plan, load_run_rows(config.runs_dir))
    assert [row.reason for row in excluded.failed] == ["ValueError: no"]
    assert excluded.waiting == (folders["b"].id, folders["c"].id)
    assert [p.title for p in excluded.plan.runs] == ["other"] and [
        w.run_ids for w in excluded.plan.waves
    ] == [(folders["other"].id,)]


def test_stopped_lost_and_blocked_runs_are_not_excluded(study):
    plan, config, folders = study
    write_status(folders["a"], "stopped")
    write_status(folders["b"], "blocked", reason="parent is not done")
    save_status(folders["other"].status, Status(state="running", heartbeat_at=1.0))
    assert exclude_failed(plan, load_run_rows(config.runs_dir)).plan == plan


def test_a_failed_run_that_is_tried_again_takes_its_children_along(study):
    plan, config, _ = study
    act(plan, config, "a", exit=1, reason="no luck")
    assert run_locally(plan, config=config, jobs=1, command=STAND_IN).count("blocked") == 2
    act(plan, config, "a")
    assert run_locally(plan, config=config, jobs=1, command=STAND_IN).complete


@pytest.mark.parametrize("cut", [11, 5])
def test_a_run_is_found_by_the_beginning_of_its_id(study, cut):
    _, config, folders = study
    assert (
        find_run(config.runs_dir, folders["a"].id[:cut])
        == folders["a"]
        == find_run(config.runs_dir, folders["a"].id[1:cut])
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [("r", "'r' matches 4 runs"), ("zz", "no run ID in .* starts with 'zz'"), ("", "no run ID in")],
)
def test_a_beginning_of_no_run_or_of_several_is_an_error(study, words, says):
    with pytest.raises(UserError, match=says):
        find_run(study[1].runs_dir, words)


def test_logs_show_the_last_lines_or_else_those_of_the_job(study):
    _, config, folders = study
    submitted(config, folders["a"].id)
    (submissions_dir(config.runs_dir) / "41" / "41_0_log.err").write_text("FATAL: no such image\n")
    assert read_last_lines(config.runs_dir, folders["a"], num_lines=5).lines == (
        "FATAL: no such image",
    )
    folders["a"].log.write_text("".join(f"line {i}\n" for i in range(9)))
    assert read_last_lines(config.runs_dir, folders["a"], num_lines=2).lines == ("line 7", "line 8")
    assert len(read_last_lines(config.runs_dir, folders["a"], num_lines=0).lines) == 9
    assert read_last_lines(config.runs_dir, folders["b"], num_lines=2).lines == ()


def test_following_gives_each_line_once_until_the_run_is_over(study, monkeypatch):
    monkeypatch.setattr("kdbatch.launch.logs.POLL_SECONDS", 0.0)
    log = study[2]["a"].log
    log.write_text("seen before\n")
    added = iter(["one\nt", "wo\n", "", "the rest"])

    def is_over() -> bool:
        more = next(added, None)
        if more is None:
            return True
        with log.open("a") as file:
            file.write(more)
        return False

    assert "\n".join(follow(study[2]["a"], start=12, is_over=is_over)) == "one\ntwo\nthe rest"


def test_cancel_takes_the_named_runs_and_no_others(slurm, study):
    plan, config, folders = study
    submit_arrays(plan, config=config)
    with (slurm / "queue").open("a") as queue:
        queue.write("7|somebody-elses|PENDING|None\n")
    a, other = folders["a"].id, folders["other"].id
    assert cancel_runs(config.runs_dir, [a]).job_ids == ("41_0",)
    assert cancel_runs(config.runs_dir, [a]).job_ids == ()
    assert {job.id for job in queued_jobs()} == {"7", "41_1", "42", "43"}
    assert cancel_runs(config.runs_dir, None).job_ids == ("41_1", "42", "43") and {
        job.id for job in queued_jobs()
    } == {"7"}
    rows = load_run_rows(config.runs_dir, live=QueueAnswer())
    assert {row.state for row in rows if row.run_id in (a, other)} == {"planned"}


def test_cancel_also_takes_the_jobs_of_a_killed_submit(slurm, study):
    plan, config, _ = study
    submit_arrays(plan, config=config)
    name = next(iter(load_sbatches(submissions_dir(config.runs_dir)).values())).name
    (slurm / "queue").write_text(f"50_0|{name}|PENDING|JobHeldUser\n")
    folder, entry = next(iter(load_sbatches(submissions_dir(config.runs_dir)).items()))
    (folder / "sbatch.json").write_text(
        json.dumps({"name": name, "keys": list(entry.keys), "asked_at": 1.0})
    )
    cancel_runs(config.runs_dir, None)
    assert queued_jobs() == ()


def test_a_run_of_a_local_queue_is_named_with_its_process(study):
    _, config, folders = study
    write_status(folders["a"], "running", host="laptop", pid=17)
    with hold_lock(folders["a"].lock):
        assert cancel_runs(config.runs_dir, None).local == {folders["a"].id: "process 17 on laptop"}


def test_a_requeued_job_waits_for_its_next_start(study):
    _, config, folders = study
    submitted(config, folders["a"].id, folders["other"].id, at=1.0)
    write_status(folders["a"], "stopped", reason="was preempted; progress is saved", job="41_0")
    save_status(folders["other"].status, Status(state="running", heartbeat_at=2.0, job="41_1"))
    live = QueueAnswer(holds={"41_0": "", "41_1": ""})
    rows = {row.title: row for row in load_run_rows(config.runs_dir, live=live)}
    assert (rows["a"].state, rows["a"].reason) == (
        "queued",
        "was preempted; progress is saved; its job starts it again",
    )
    assert (rows["other"].state, rows["other"].reason) == (
        "queued",
        "its process was lost; its job starts it again",
    )
    assert {row.title: row.state for row in load_run_rows(config.runs_dir, live=QueueAnswer())} == {
        "a": "stopped",
        "b": "planned",
        "c": "planned",
    } | {"other": "lost"}


def test_the_reason_why_a_job_is_gone_comes_from_the_accounting(slurm, study, monkeypatch):
    _, config, folders = study
    submitted(config, *(folders[name].id for name in "abc"))
    monkeypatch.setenv("SACCT_FORMAT", "user")
    (slurm / "sacct").write_text(
        '#!/bin/bash\n[ -n "$SACCT_FORMAT" ] && exit 1\n'
        "printf '41_0|OUT_OF_MEMORY\\n41_1|CANCELLED by 7\\n'\n"
    )
    (slurm / "sacct").chmod(0o755)
    rows = {row.title: row for row in load_run_rows(config.runs_dir, live=QueueAnswer())}
    assert (rows["a"].state, rows["b"].state) == ("failed", "blocked") and rows[
        "a"
    ].reason.startswith("ran out of memory")
    submitted(config, folders["b"].id, folders["b"].id, number="42")
    (slurm / "sacct").write_text("#!/bin/bash\nprintf '42_1|CANCELLED by 7\\n'\n")
    (submissions_dir(config.runs_dir) / f"sacct-{os.getuid()}.json").unlink()  # a minute later
    rows = {row.title: row for row in load_run_rows(config.runs_dir, live=QueueAnswer())}
    assert "SLURM: CANCELLED" in rows["b"].reason


def test_the_commands_as_they_are_typed(slurm, study):
    plan, config, folders = study
    submit_arrays(plan, config=config)
    folders["a"].log.write_text("hello\n")
    write_status(folders["a"], "failed", reason="no luck")
    assert "hello" in kdbatch("logs", folders["a"].id[:6], "-f")
    output = kdbatch("status", "--watch=false")
    assert (
        f"{folders['a'].id}\tfailed" in output
        and "kdbatch logs" in output
        and "--retry-failed" in output
    )
    assert "3 jobs cancelled" in kdbatch(
        "cancel", folders["b"].id, "--all=false", folders["c"].id, folders["other"].id
    )
    assert "SLURM's queue has no job of 1 run: 1 blocked" in kdbatch(
        "cancel", folders["b"].id, code=1
    )
    assert "name what to cancel" in kdbatch("cancel", code=2)


def test_status_and_logs_come_from_the_files_while_slurm_does_not_answer(slurm, study):
    plan, config, folders = study
    submit_arrays(plan, config=config)
    folders["a"].log.write_text("hello\n")
    write_status(folders["a"], "running", job="41_0", step=3, num_steps=9)
    (slurm / "squeue_fails").write_text(
        "slurm_load_jobs error: Unable to contact slurm controller\n"
    )
    (slurm / "squeue.txt").unlink()
    for words, shown in (
        (("status",), f"{folders['a'].id}\trunning"),
        (("logs", folders["a"].id), "hello"),
    ):
        output = kdbatch(*words)
        assert (
            shown in output
            and output.count("SLURM does not answer") == 1
            and "scontrol ping" in output
        )
    assert len((slurm / "squeue.txt").read_text().splitlines()) == 1


def test_following_a_run_that_was_cancelled_ends(slurm, study):
    _, config, folders = study
    submitted(config, folders["a"].id)
    folders["a"].log.write_text("hello\n")
    write_status(folders["a"], "stopped", reason="was asked to stop", job="41")
    assert "hello" in kdbatch("logs", folders["a"].id, "-f")


def test_submit_prints_a_line_per_array_and_not_per_run(slurm, sharded, in_tmp):
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    output = kdbatch("submit", str(JOBS / "subset_size.yaml"), "--profile=toy").splitlines()
    assert output[0] == "job 41: 4 x pretrain" and output[-2:] == [
        "23 runs: 23 handed to SLURM",
        "Watch them: kdbatch status --watch",
    ]
    assert [line.split()[-1] for line in output[:-2]] == [
        "pretrain",
        "finetune",
        "distill",
        "compare",
    ]
    assert len(queued_jobs()) == 23


def test_a_submit_that_is_refused_half_way_prints_what_slurm_has_and_how_to_go_on(
    slurm, sharded, in_tmp
):
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    sbatch = (slurm / "sbatch").read_text()
    error = "sbatch: error: Invalid account or account/partition combination specified"
    (slurm / "sbatch").write_text(
        sbatch.replace("env >", f'[ -e 41.sbatch ] && {{ echo "{error}" >&2; exit 1; }}\nenv >')
    )
    words = ("submit", str(JOBS / "subset_size.yaml"), "--profile=toy")
    output = kdbatch(*words, code=2)
    assert "job 41: 4 x pretrain\n" in output
    go_on = f"kdbatch submit {JOBS / 'subset_size.yaml'} --profile toy"
    assert (
        f"23 runs: 4 handed to SLURM, which keeps them; then submit stopped. Go on with: {go_on}"
        in output
    )
    assert "combination specified. Check account under [site]" in output
    (slurm / "sbatch").write_text(sbatch)
    assert "23 runs: 19 handed to SLURM, 4 in SLURM's queue before" in kdbatch(*words)


def test_cancel_does_not_say_that_jobs_are_gone_where_there_is_no_slurm(slurm, study, monkeypatch):
    plan, config, folders = study
    submit_arrays(plan, config=config)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match="there is no squeue here. Go to a login node"):
        cancel_runs(config.runs_dir, None)
    with hold_lock(folders["a"].lock):
        assert set(cancel_runs(config.runs_dir, None).local) == {folders["a"].id}


def test_a_job_of_another_name_that_has_the_number_of_a_run_is_not_cancelled(slurm, study):
    plan, config, _ = study
    submit_arrays(plan, config=config)
    (slurm / "queue").write_text("41_0|another|RUNNING|None\n41_1|kdb|wave|RUNNING|None\n")
    assert cancel_runs(config.runs_dir, None).job_ids == ()


@pytest.mark.parametrize(
    "printed", ["41_0|train|FAILED|more", "41_0|", "41_0", "Gr\\374\\337e|x", "||||", "|"]
)
def test_an_odd_answer_of_the_accounting_is_no_error(slurm, study, printed):
    _, config, folders = study
    submitted(config, *(folders[name].id for name in "abc"))
    (slurm / "sacct").write_text(f"#!/bin/bash\nprintf '{printed}\\n'\n")
    (slurm / "sacct").chmod(0o755)
    rows = {row.title: row for row in load_run_rows(config.runs_dir, live=QueueAnswer())}
    expected = (
        "SLURM: FAILED" if "FAILED" in printed else "SLURM: sacct answers with no states, but"
    )
    assert expected in rows["a"].reason


def test_a_run_that_fails_while_another_shell_submits_is_left_out(
    slurm, sharded, in_tmp, monkeypatch, capsys
):
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    request = SubmitRequest(files=(JOBS / "subset_size.yaml",), profile="toy")
    submit(request, dry_run=False, retry_failed=False, wait=False)
    (slurm / "queue").write_text("")
    home = submissions_dir(Path("runs"))
    failed, submission = next(iter(last_submissions(home).items()))

    @contextmanager
    def waiting(path):
        with hold_lock(path):
            write_status(
                RunFolder(home.parent / failed), "failed", reason="no luck", job=submission.job_id
            )
            yield

    monkeypatch.setattr(submit_module, "hold_lock", waiting)
    submit(request, dry_run=False, retry_failed=False, wait=False)
    assert (
        f"left out: {failed}" in capsys.readouterr().out
        and last_submissions(home)[failed] == submission
    )


def test_watching_ends_when_no_run_moves(study):
    plan, config, folders = study
    act(plan, config, "other", steps=40, step_seconds=0.05)
    worker = subprocess.Popen([*STAND_IN, str(folders["other"].path)])
    wait_until(folders["other"].status.exists)
    assert f"{folders['other'].id}\tdone" in kdbatch("status", "--watch")
    assert worker.wait() == 0


def test_submit_with_wait_feeds_the_queue_until_every_run_is_done(
    slurm, sharded, in_tmp, monkeypatch, capsys
):
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    (slurm / "max_submit").write_text("10")

    def finish_what_is_queued(_seconds: float) -> None:
        live = {job.id for job in queued_jobs()}
        for run_id, submission in last_submissions(submissions_dir(Path("runs"))).items():
            if submission.job_id in live:
                folder = RunFolder(Path("runs") / run_id)
                folder.done.write_text("{}")
                write_status(folder, "done", job=submission.job_id)
        (slurm / "queue").write_text("")

    clock = SimpleNamespace(sleep=finish_what_is_queued, monotonic=time.monotonic)
    monkeypatch.setattr(submit_command_module, "time", clock)
    request = SubmitRequest(files=(JOBS / "subset_size.yaml",), profile="toy")
    assert submit(request, dry_run=False, retry_failed=False, wait=True) == 0
    printed = capsys.readouterr().out
    assert (
        "23 runs: 10 handed to SLURM, 13 planned\nSLURM takes no more jobs now (AssocMax" in printed
    )
    assert "23 runs: 23 done. See: kdbatch status" in printed
