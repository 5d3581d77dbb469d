"""The answers that SLURM's commands print, changed by sites, wrappers and names of foreign jobs."""

import pytest

from kdbatch.base.errors import UserError
from kdbatch.launch.machine import ask
from kdbatch.launch.slurm.answers import (
    number_of_name,
    read_queue,
    read_states,
    shown_line,
    submitted_number,
    whole_number,
)
from kdbatch.launch.slurm.cluster_info import gpu_types_in


@pytest.mark.parametrize(
    ("printed", "number"),
    [
        ("Submitted batch job 41\n", "41"),
        ("Submitted batch job 41 on cluster west\n", "41"),
        ("Your group runs job 7 of 50\nSubmitted batch job 41\nused job 42 of 100 credits\n", "41"),
        ("41\n", ""),
        ("41;west\n", ""),
        ("", ""),
        ("Submitted batch job 7 for staging\n", ""),
        ("Submitted batch job 7\nSubmitted batch job 41\n", ""),
        ("Submitted batch job 41\nSubmitted batch job 41\n", "41"),
        ("Submitted batch job 99999999999\n", ""),
    ],
)
def test_only_the_whole_line_of_sbatch_has_the_number(printed, number):
    assert submitted_number(printed) == number


@pytest.mark.parametrize(
    ("line", "name", "state", "reason"),
    [
        ("41_0|train|PENDING|JobHeldUser", "train", "PENDING", "JobHeldUser"),
        ("41_0|a|b|c|RUNNING|None", "a|b|c", "RUNNING", "None"),
        ("41_0|PENDING|x|RUNNING|", "PENDING|x", "RUNNING", ""),
        ("41_0|train||None", "train", "", "None"),
        ("41_0|train|PENDING", "train", "PENDING", ""),
        ("41_0|train", "train", "", ""),
        ("41_0", "", "", ""),
        (" 41_0 | tr\ufffdin | PENDING | (Priority) ", "tr\ufffdin", "PENDING", "Priority"),
        ("41_0|gpu|train|me|PENDING|0:00|1|(JobHeldUser)", "gpu|train|me", "PENDING", None),
    ],
)
def test_a_job_is_read_with_more_and_with_fewer_columns(line, name, state, reason):
    (job,) = read_queue(f"Welcome to the cluster\n\n{line}\n")
    assert (job.id, job.name, job.state) == ("41_0", name, state)
    assert job.reason == reason or (reason is None and job.is_held and job.has_name("train"))


def test_elements_that_are_not_listed_one_by_one_are_counted():
    jobs = read_queue("41_[0-2,7%2]|train|PENDING|None\n123+1|het|RUNNING|None\n")
    assert [job.id for job in jobs] == ["41_0", "41_1", "41_2", "41_7", "123+1"]


def test_ended_jobs_are_not_in_the_queue():
    assert read_queue("41|a|COMPLETED|None\n42|b|PREEMPTED|None\n") == ()


@pytest.mark.parametrize(
    "printed",
    [
        "slurm_load_jobs: warning\n",
        "garbage\n",
        "7 of 50 jobs\n",
        "JOBID|NAME|STATE|REASON\n",
        "train|41_0|PENDING|None\n",
        "slurm_load_jobs error: Unable to contact slurm controller\n41|a|RUNNING|None\n",
        "41_[0-99999999]|a|PENDING|None\n",
    ],
)
def test_words_that_are_no_jobs_are_not_an_empty_queue(printed):
    with pytest.raises(
        UserError, match=r"squeue: its answer has (no list|a job).*: '.*squeue --me"
    ):
        read_queue(printed)


@pytest.mark.parametrize(
    "job_id",
    [
        "41_[0,2,...]",
        "41_[0-4]%2",
        "41_[0-8:2]",
        "41_*",
        "41[0]",
        "41_0;west",
        "41_0*",
        "12345678901",
    ],
)
def test_a_job_whose_id_has_an_unknown_form_is_not_taken_for_absent(job_id):
    with pytest.raises(UserError, match=r"has a job that cannot be told apart: '41.*|12345678901"):
        read_queue(f"7|other|RUNNING|None\n{job_id}|ours|PENDING|None\n")


def test_a_job_that_runs_on_another_cluster_of_the_federation_is_in_the_queue():
    assert [job.id for job in read_queue("67109080|ours|REVOKED|None\n")] == ["67109080"]


def test_a_name_over_two_lines_hides_no_other_job():
    jobs = read_queue("55|my\njob|PENDING|None\n41|ours|PENDING|None\n")
    assert [job.id for job in jobs] == ["55", "41"]


def test_states_of_the_accounting_are_found_between_other_columns():
    printed = "41_0|train|FAILED|1:0\n41_1|\n\n41_2|CANCELLED by 7\nhello|x\n43||TIMEOUT\n"
    assert read_states(printed) == {"41_0": "FAILED", "41_2": "CANCELLED", "43": "TIMEOUT"}


def test_the_accounting_finds_a_job_by_its_whole_name():
    printed = "40|kdbatch-a\n41_[0-3]|kdbatch-a-b|more\n"
    assert (number_of_name(printed, "kdbatch-a-b"), number_of_name(printed, "kdbatch")) == (
        "41",
        "",
    )


@pytest.mark.parametrize(
    ("text", "number"), [("30 sec", 30), ("0", 0), ("²", None), ("9" * 5000, None), ("", None)]
)
def test_a_setting_is_a_number_or_none(text, number):
    assert whole_number(text) == number


@pytest.mark.parametrize(
    ("gres", "types"),
    [
        ("gpu:2080ti:4(S:0-1),gpu:a100:2(S:0)", ["2080ti", "a100"]),
        ("gpu:3090:8(IDX:0-3,6)", ["3090"]),
        (
            "gpu:1g.10gb:7,gpu:a100-sxm4-80gb:1,gpu:rtx_6000:2",
            ["1g.10gb", "a100-sxm4-80gb", "rtx_6000"],
        ),
        ("gpu:4", [""]),
        ("gpu", [""]),
        ("gpu:a100:no_consume:4", ["a100"]),
        ("gres:gpu:h200:4,shard:h200:8,mps:100,nic:2", ["h200"]),
        ("gpu:0,craynetwork:4", []),
        ("(null)", []),
        ("", []),
        ("gpu:a100:2(S:0", ["a100"]),
    ],
)
def test_types_of_gpus_are_those_of_slurms_grammar(gres, types):
    assert gpu_types_in(gres) == types


def test_colours_and_bytes_that_are_no_text_are_replaced():
    printed = ask(
        ("printf", r"\033[1;32mSubmitted\033[0m batch job 41\r\nGr\374\337e\n"), seconds=9
    )
    assert printed.text == "Submitted batch job 41\nGr\ufffd\ufffde\n"
    assert shown_line(printed.text) == "'Submitted batch job 41'"
