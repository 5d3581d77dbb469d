"""status, logs, cancel and --retry-failed as they are typed, with the fake cluster on PATH or a
real local queue.
"""

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.inputs import JOBS
from support.launching import STAND_IN, act, config_in, ids, plan_of, submitted
from support.wait import wait_until

from kdbatch.base.errors import UserError
from kdbatch.base.locks import hold_lock
from kdbatch.cli.launch import submit
from kdbatch.launch.exclude_failed import exclude_failed
from kdbatch.launch.local.run import run_locally
from kdbatch.launch.logs import find_run, follow, read_last_lines
from kdbatch.launch.run_folders import submissions_dir, write_runs
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm import submit as submit_module
from kdbatch.launch.slurm.cancel import cancel_runs
from kdbatch.launch.slurm.commands import JobsCache, queued_jobs
from kdbatch.launch.slurm.submissions import last_submissions, load_sbatches
from kdbatch.launch.slurm.submit import submit_arrays
from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.status import Status, save_status

SHAPE = {"a": (), "b": ("a",), "c": ("b",), "other": ()}


@pytest.fixture
def world(tmp_path, monkeypatch):
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


def say(folder: RunFolder, state: str, **more) -> None:
    save_status(folder.status, Status(state=state, heartbeat_at=time.time(), **more))


def test_a_failed_run_and_its_descendants_are_set_aside_and_nothing_else(world):
    plan, config, folders = world
    say(folders["a"], "failed", reason="ValueError: no")
    aside = exclude_failed(plan, load_run_rows(config.runs_dir))
    assert [row.reason for row in aside.failed] == ["ValueError: no"]
    assert aside.waiting == (folders["b"].id, folders["c"].id)
    assert [p.title for p in aside.plan.runs] == ["other"] and [
        w.run_ids for w in aside.plan.waves
    ] == [(folders["other"].id,)]


def test_what_was_stopped_lost_or_blocked_is_not_set_aside(world):
    plan, config, folders = world
    say(folders["a"], "stopped")
    say(folders["b"], "blocked", reason="parent is not done")
    save_status(folders["other"].status, Status(state="running", heartbeat_at=1.0))
    assert exclude_failed(plan, load_run_rows(config.runs_dir)).plan == plan


def test_a_failed_run_that_is_tried_again_takes_its_children_along(world):
    plan, config, _ = world
    act(plan, config, "a", exit=1, reason="no luck")
    assert run_locally(plan, config=config, jobs=1, command=STAND_IN).count("blocked") == 2
    act(plan, config, "a")
    assert run_locally(plan, config=config, jobs=1, command=STAND_IN).complete


@pytest.mark.parametrize("cut", [11, 5])
def test_a_run_is_found_by_the_beginning_of_its_id(world, cut):
    _, config, folders = world
    assert (
        find_run(config.runs_dir, folders["a"].id[:cut])
        == folders["a"]
        == find_run(config.runs_dir, folders["a"].id[1:cut])
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [("r", "4 runs begin so"), ("zz", "no run in .* begins so"), ("", "no run in")],
)
def test_a_beginning_of_none_or_several_is_a_slip(world, words, says):
    with pytest.raises(UserError, match=says):
        find_run(world[1].runs_dir, words)


def test_logs_show_the_last_lines_and_else_what_the_job_said(world):
    _, config, folders = world
    submitted(config, folders["a"].id)
    (submissions_dir(config.runs_dir) / "41" / "41_0_log.err").write_text("FATAL: no such image\n")
    assert read_last_lines(config.runs_dir, folders["a"], num_lines=5).lines == (
        "FATAL: no such image",
    )
    folders["a"].log.write_text("".join(f"line {i}\n" for i in range(9)))
    assert read_last_lines(config.runs_dir, folders["a"], num_lines=2).lines == ("line 7", "line 8")
    assert len(read_last_lines(config.runs_dir, folders["a"], num_lines=0).lines) == 9
    assert read_last_lines(config.runs_dir, folders["b"], num_lines=2).lines == ()


def test_following_gives_each_line_once_until_the_run_is_over(world, monkeypatch):
    monkeypatch.setattr("kdbatch.launch.logs.POLL_SECONDS", 0.0)
    log = world[2]["a"].log
    log.write_text("seen before\n")
    added = iter(["one\nt", "wo\n", "", "the rest"])

    def is_over() -> bool:
        more = next(added, None)
        if more is None:
            return True
        with log.open("a") as file:
            file.write(more)
        return False

    assert "\n".join(follow(world[2]["a"], start=12, is_over=is_over)) == "one\ntwo\nthe rest"


def test_cancel_takes_what_is_asked_for_and_no_more(slurm, world):
    plan, config, folders = world
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
    assert {
        row.state for row in load_run_rows(config.runs_dir, live=set()) if row.run_id in (a, other)
    } == {"planned"}


def test_cancel_also_takes_what_a_killed_submit_left_behind(slurm, world):
    plan, config, _ = world
    submit_arrays(plan, config=config)
    name = next(iter(load_sbatches(submissions_dir(config.runs_dir)).values())).name
    (slurm / "queue").write_text(f"50_0|{name}|PENDING|JobHeldUser\n")
    folder, entry = next(iter(load_sbatches(submissions_dir(config.runs_dir)).items()))
    (folder / "sbatch.json").write_text(
        json.dumps({"name": name, "keys": list(entry.keys), "asked_at": 1.0})
    )
    cancel_runs(config.runs_dir, None)
    assert queued_jobs() == ()


def test_a_run_of_a_local_queue_is_named_with_its_process(world):
    _, config, folders = world
    say(folders["a"], "running", host="laptop", pid=17)
    with hold_lock(folders["a"].lock):
        assert cancel_runs(config.runs_dir, None).local == {folders["a"].id: "process 17 on laptop"}


def test_a_requeued_job_waits_for_its_next_start(world):
    _, config, folders = world
    submitted(config, folders["a"].id, folders["other"].id, at=1.0)
    say(folders["a"], "stopped", reason="was preempted; progress is saved", job="41_0")
    save_status(folders["other"].status, Status(state="running", heartbeat_at=2.0, job="41_1"))
    rows = {row.title: row for row in load_run_rows(config.runs_dir, live={"41_0", "41_1"})}
    assert (rows["a"].state, rows["a"].reason) == (
        "queued",
        "was preempted; progress is saved; its job starts it again",
    )
    assert (rows["other"].state, rows["other"].reason) == (
        "queued",
        "its process was lost; its job starts it again",
    )
    assert {row.title: row.state for row in load_run_rows(config.runs_dir, live=set())} == {
        "a": "stopped",
        "b": "planned",
        "c": "planned",
    } | {"other": "lost"}


def test_the_accounting_says_why_a_job_is_gone(slurm, world, monkeypatch):
    _, config, folders = world
    submitted(config, *(folders[name].id for name in "abc"))
    monkeypatch.setenv("SACCT_FORMAT", "user")
    (slurm / "sacct").write_text(
        "#!/bin/bash\n[ -n \"$SACCT_FORMAT\" ] && exit 1\nprintf '41_0|OUT_OF_MEMORY\\n41_1|CANCELLED by 7\\n'\n"
    )
    (slurm / "sacct").chmod(0o755)
    rows = {row.title: row for row in load_run_rows(config.runs_dir, live=set())}
    assert (rows["a"].state, rows["b"].state) == ("failed", "blocked") and rows[
        "a"
    ].reason.startswith("ran out of memory")
    submitted(config, folders["b"].id, folders["b"].id, number="42")
    (slurm / "sacct").write_text("#!/bin/bash\nprintf '42_1|CANCELLED by 7\\n'\n")
    assert (
        "SLURM: CANCELLED"
        in {row.title: row for row in load_run_rows(config.runs_dir, live=set())}["b"].reason
    )


def test_the_commands_as_they_are_typed(slurm, world):
    plan, config, folders = world
    submit_arrays(plan, config=config)
    folders["a"].log.write_text("hello\n")
    say(folders["a"], "failed", reason="no luck")
    assert "hello" in kdbatch("logs", folders["a"].id[:6], "-f")
    told = kdbatch("status", "--watch=false")
    assert (
        f"{folders['a'].id}\tfailed" in told and "kdbatch logs" in told and "--retry-failed" in told
    )
    assert "3 jobs cancelled" in kdbatch(
        "cancel", folders["b"].id, "--all=false", folders["c"].id, folders["other"].id
    )
    assert "No job of these runs" in kdbatch("cancel", folders["b"].id)
    assert "name what to cancel" in kdbatch("cancel", code=2)


def test_status_and_logs_show_what_the_files_say_while_slurm_does_not_answer(slurm, world):
    plan, config, folders = world
    submit_arrays(plan, config=config)
    folders["a"].log.write_text("hello\n")
    say(folders["a"], "running", job="41_0", step=3, num_steps=9)
    (slurm / "squeue_fails").write_text(
        "slurm_load_jobs error: Unable to contact slurm controller\n"
    )
    for words, shown in (
        (("status",), f"{folders['a'].id}\trunning"),
        (("logs", folders["a"].id), "hello"),
    ):
        (slurm / "squeue.txt").unlink(missing_ok=True)
        told = kdbatch(*words)
        assert (
            shown in told and told.count("SLURM does not answer") == 1 and "scontrol ping" in told
        )
        assert len((slurm / "squeue.txt").read_text().splitlines()) == 1


def test_who_looks_often_asks_slurm_seldom(slurm):
    jobs = JobsCache(warn=print)
    (slurm / "queue").write_text("41_0\n")
    assert [jobs.live(), jobs.live()] == [{"41_0"}] * 2
    assert len((slurm / "squeue.txt").read_text().splitlines()) == 1


def test_following_a_run_that_was_cancelled_ends(slurm, world):
    _, config, folders = world
    submitted(config, folders["a"].id)
    folders["a"].log.write_text("hello\n")
    say(folders["a"], "stopped", reason="was asked to stop", job="41")
    assert "hello" in kdbatch("logs", folders["a"].id, "-f")


def test_submit_tells_of_each_array_not_of_each_run(slurm, sharded, in_tmp):
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    said = kdbatch("submit", str(JOBS / "subset_size.yaml"), "--profile=toy").splitlines()
    assert (
        said[0] == "job 41: 4 x pretrain"
        and said[-1] == "19 runs handed to SLURM. Watch them: kdbatch status --watch"
    )
    assert [line.split()[-1] for line in said[:-1]] == [
        "pretrain",
        "finetune",
        "distill",
        "compare",
    ]
    assert len(queued_jobs()) == 19


def test_a_run_that_fails_while_another_shell_submits_is_left_out(
    slurm, sharded, in_tmp, monkeypatch, capsys
):
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    words = {"profile": "toy", "local": False, "jobs": 0, "dry_run": False, "retry_failed": False}
    submit((JOBS / "subset_size.yaml",), **words)
    (slurm / "queue").write_text("")
    home = submissions_dir(Path("runs"))
    failed, submission = next(iter(last_submissions(home).items()))

    @contextmanager
    def waiting(path):
        with hold_lock(path):
            say(RunFolder(home.parent / failed), "failed", reason="no luck", job=submission.job_id)
            yield

    monkeypatch.setattr(submit_module, "hold_lock", waiting)
    submit((JOBS / "subset_size.yaml",), **words)
    assert (
        f"left out: {failed}" in capsys.readouterr().out
        and last_submissions(home)[failed] == submission
    )


def test_watching_ends_when_nothing_moves(world):
    plan, config, folders = world
    act(plan, config, "other", steps=40, step_seconds=0.05)
    worker = subprocess.Popen([*STAND_IN, str(folders["other"].path)])
    wait_until(folders["other"].status.exists)
    assert f"{folders['other'].id}\tdone" in kdbatch("status", "--watch")
    assert worker.wait() == 0
