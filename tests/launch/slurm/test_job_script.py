"""The batch script's own lines, run by a real bash against the fake cluster."""

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.small_disk import small_disk

from kdbatch.launch.slurm.exit_reason import last_exit_reason
from kdbatch.launch.slurm.job.job_script import (
    TEMPLATE,
    setup_lines,
    signal_delay_seconds,
    teardown_lines,
)
from kdbatch.launch.slurm.submissions import Submission
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.attempts.start import START_VARIABLES, Start
from kdbatch.vocab.config import Site
from kdbatch.vocab.jobs.resources import Resources

ELEMENT = {"SLURM_JOB_ID": "44", "SLURM_ARRAY_JOB_ID": "41", "SLURM_ARRAY_TASK_ID": "3"}
ALONE, PLAIN = Resources(gpus=0, minutes=90), Site()
RETRIES = Retries(timeout=2, preemption=0, node_failure=0, crash=1, requeue=0)


@dataclass(frozen=True)
class Script:
    """One start of a job: its environment as the worker sees it, and what became of it."""

    code: int
    seen: dict[str, str]
    asked: list[str]


@pytest.fixture
def start(slurm: Path, tmp_path: Path):
    """Run the script's lines around a worker that shows its environment and exits with `code`."""

    def run(
        code: int, *, env: dict[str, str] = ELEMENT, asked: Resources = ALONE, site: Site = PLAIN
    ) -> Script:
        (slurm / "scontrol.txt").unlink(missing_ok=True)
        lines = [
            *setup_lines(asked, site=site, folder=tmp_path / "a b", image=None, retries=RETRIES),
            f"env >seen; (exit {code})",
            *teardown_lines(RETRIES),
        ]
        (tmp_path / "a b").mkdir(exist_ok=True)
        ended = subprocess.run(
            ["bash", "-c", "\n".join(lines)], cwd=tmp_path, env={**os.environ, **env}, check=False
        )
        path = tmp_path / "seen"
        seen = (
            dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)
            if path.exists()
            else {}
        )
        said = slurm / "scontrol.txt"
        requeues = (
            [line for line in said.read_text().splitlines() if line.startswith("requeue")]
            if said.exists()
            else []
        )
        return Script(code=ended.returncode, seen=seen, asked=requeues)

    return run


def test_the_script_exports_the_variables_of_a_start():
    exported = re.findall(r"export (KDBATCH_\w+)", TEMPLATE.read_text())
    of_target = {"KDBATCH_PLACE"}  # which of the runs of the job it starts
    assert set(exported) - of_target == set(START_VARIABLES.values()) - {
        START_VARIABLES["image_sha256"],  # in the line of the image
        START_VARIABLES["parent_pid"],  # of the local queue
        START_VARIABLES["node"],  # SLURM's own
    }


@pytest.mark.parametrize(
    ("code", "again"),
    [
        (0, False),
        (1, False),
        (2, False),
        (78, False),
        (85, True),
        (75, True),
        (69, True),
        (255, True),
        (137, True),
        (139, True),
        (143, False),
        (130, False),
    ],
)
def test_which_exit_codes_are_requeued(start, code, again):
    script = start(code)
    assert (script.code, script.asked) == (code, ["requeue 41_3"] if again else [])


@pytest.mark.parametrize("code", [1, 2, 69, 75, 78, 85, 130, 137, 139, 143, 255])
def test_a_job_that_is_not_requeued_is_final_unless_it_was_asked_to_end(start, tmp_path, code):
    for i in range(1, 4):
        again = start(code).asked
        ending = last_exit_reason(
            Submission(job_id="41_3", submitted_at=0.0, folder=tmp_path / "a b")
        )
        assert ending is not None and ending.times == i
        assert ending.is_final(RETRIES) == (not again and code not in (75, 85, 130, 143))


@pytest.mark.parametrize(("failures", "asked"), [(2, 3), (9, 4)])
def test_a_requeue_that_fails_is_tried_again_a_few_times(start, slurm, failures, asked):
    scontrol = slurm / "scontrol"
    lines = scontrol.read_text().splitlines()
    num_requeues = f'"$(grep -c requeue "{slurm}/scontrol.txt")"'
    lines.insert(-1, f'[ "$1" = requeue ] && [ {num_requeues} -le {failures} ] && exit 1')
    scontrol.write_text("\n".join(lines))
    script = start(85)
    assert (script.code, script.asked) == (85, ["requeue 41_3"] * asked)


def test_a_job_that_is_no_array_is_named_by_its_id(start):
    script = start(85, env={"SLURM_JOB_ID": "44"})
    assert (script.seen["KDBATCH_JOB"], script.asked) == ("44", ["requeue 44"])


def test_a_job_that_dies_before_its_worker_can_count_is_not_started_for_ever(start):
    assert [
        bool(start(137, env=ELEMENT | {"SLURM_RESTART_COUNT": str(i)}).asked) for i in range(4)
    ] == [True, True, False, False]


def test_the_next_start_gets_the_exit_code_of_the_last_one(start, slurm):
    start(137)
    (slurm / "sacct").write_text(
        "#!/bin/bash\necho \"$@\" >sacct.txt\nprintf 'PREEMPTED\\nCANCELLED by 0\\nRUNNING\\n'\n"
    )
    (slurm / "sacct").chmod(0o755)
    start_seen = Start.from_environment(start(85, env=ELEMENT | {"SLURM_RESTART_COUNT": "1"}).seen)
    assert (start_seen.job, start_seen.restart, start_seen.exits, start_seen.last_state) == (
        "41_3",
        1,
        {0: "137"},
        "CANCELLED",
    )
    start_seen = Start.from_environment(
        start(0, env=ELEMENT | {"SLURM_RESTART_COUNT": "3"}).seen
    )  # the node was lost the time before
    assert (start_seen.restart, start_seen.exits) == (3, {0: "137", 1: "85"})


@pytest.mark.parametrize(
    ("printed", "state"),
    [
        ("PREEMPTED\\n\\n", "PREEMPTED"),
        ("PREEMPTED|0:0|x\\nGr\\374\\337e\\nWelcome to SLURM\\n", "PREEMPTED"),
        ("NODE_FAIL\\nRUNNING|x\\n", "NODE_FAIL"),
        ("", ""),
        ("slurm: warning\\n", ""),
    ],
)
def test_the_last_state_is_found_in_an_odd_answer_of_the_accounting(start, slurm, printed, state):
    start(137)
    (slurm / "sacct").write_text(f"#!/bin/bash\nprintf '{printed}'\n")
    (slurm / "sacct").chmod(0o755)
    seen = start(85, env=ELEMENT | {"SLURM_RESTART_COUNT": "1"}).seen
    assert Start.from_environment(seen).last_state == state


def test_the_first_start_does_not_call_sacct(start, slurm, tmp_path):
    (slurm / "sacct").write_text("#!/bin/bash\ntouch asked\n")
    (slurm / "sacct").chmod(0o755)
    start_seen = Start.from_environment(start(0).seen)
    assert not (tmp_path / "asked").exists() and (
        start_seen.restart,
        start_seen.exits,
        start_seen.last_state,
    ) == (
        0,
        {},
        "",
    )


def test_the_time_limit_is_slurms_or_counted_from_now(start):
    assert (
        Start.from_environment(
            start(0, env=ELEMENT | {"SLURM_JOB_END_TIME": "1700000000"}).seen
        ).ends_at
        == 1.7e9
    )
    now = float(subprocess.run(["date", "+%s"], capture_output=True, check=True).stdout)
    assert now <= Start.from_environment(start(0).seen).ends_at - 90 * 60 <= now + 10
    assert (
        signal_delay_seconds(Resources(minutes=1)) == 15
        and signal_delay_seconds(Resources(minutes=600)) == 300
    )


def test_a_setup_line_that_fails_ends_the_job_before_the_worker(start, tmp_path):
    script = start(0, site=Site(setup=("false", "true")))
    assert script.code == 1 and script.seen == {} and script.asked == []
    ending = last_exit_reason(Submission(job_id="41_3", submitted_at=0.0, folder=tmp_path / "a b"))
    assert ending is not None and ending.is_final(RETRIES)
    assert ending.message.startswith(
        "its job's setup failed (exit code 1): look at setup under [site]"
    )


def test_several_processes_get_the_address_of_their_rendezvous(start):
    seen = start(
        0, env=ELEMENT | {"SLURM_JOB_NODELIST": "node[1-2]"}, asked=Resources(nodes=2, gpus=4)
    ).seen
    assert seen["MASTER_ADDR"] == "node1" and 10_000 <= int(seen["MASTER_PORT"]) < 32_768
    assert "MASTER_ADDR" not in start(0).seen


def test_several_processes_are_not_started_without_an_address(start, slurm):
    (slurm / "scontrol").write_text("#!/bin/bash\nexit 1\n")
    script = start(0, env=ELEMENT | {"SLURM_JOB_NODELIST": "node[1-2]"}, asked=Resources(nodes=2))
    assert script.code == 1 and script.seen == {}


def test_the_next_start_has_another_port(start):
    asked = Resources(nodes=2)
    first, second = (
        start(
            69,
            env=ELEMENT | {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_RESTART_COUNT": i},
            asked=asked,
        ).seen["MASTER_PORT"]
        for i in "01"
    )
    assert first != second


@pytest.mark.parametrize(
    "code", [1, 137]
)  # of srun, when the whole task is gone, and of a container whose process is
def test_running_out_of_memory_is_reported_and_not_repeated(start, tmp_path, code):
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "41_3_0_log.err").write_text(
        "slurmstepd: error: Detected 1 oom_kill event in StepId=41.0. "
        "Some of the step tasks have been OOM Killed.\n"
    )
    assert start(code).asked == []
    ending = last_exit_reason(Submission(job_id="41_3", submitted_at=0.0, folder=folder))
    assert ending is not None and ending.message.startswith(
        "ran out of memory: raise memory_gb under [resources]"
    )


def test_the_exit_reason_is_read_from_the_script(start, tmp_path):
    for i in range(2):
        start(255, env=ELEMENT | {"SLURM_RESTART_COUNT": str(i)})
    ending = last_exit_reason(Submission(job_id="41_3", submitted_at=0.0, folder=tmp_path / "a b"))
    assert (
        ending is not None
        and ending.message
        == f"its container did not start, 2 times; see {tmp_path}/a b/41_3_0_log.err"
    )
    start(0, env=ELEMENT | {"SLURM_ARRAY_TASK_ID": "4"})
    assert (
        last_exit_reason(Submission(job_id="41_4", submitted_at=0.0, folder=tmp_path / "a b"))
        is None
    )


def test_a_disk_without_room_for_the_note_of_the_end_lets_no_job_start_without_end(start, tmp_path):
    with small_disk(tmp_path / "a b", size="4k") as folder:
        (folder / "41_3.ended").touch()
        (folder / "pad").write_bytes(bytes(4096))
        assert start(74).asked == []
