"""The cause under which an attempt's end is counted, exit codes, and the limits of retries."""

from dataclasses import replace

import pytest

from kdbatch.vocab.attempts.exit_rules import EXIT_RULES, exit_rule
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.attempts.retry_policy import (
    CAUSE_TEXT,
    cause_of_end,
    cause_of_stop,
    count_interruptions,
    refusal,
)
from kdbatch.vocab.attempts.start import Start
from kdbatch.vocab.status import Status

DIED = Status(state="running", attempt=1, step=7, first_step=3, job="41_0")
SAVED = replace(DIED, state="stopped", cause="asked")
LOST = replace(SAVED, cause="crash")
AGAIN = Start(job="41_0", restart=1)
LATER = Start(job="41_0", restart=2)


@pytest.mark.parametrize(
    ("left", "early_warning", "cause"),
    [
        (300, True, "timeout"),
        (370, True, "timeout"),
        (1000, True, "preemption"),
        (1000, False, "asked"),
        (2, False, "timeout"),
    ],
)
def test_a_signal_means_the_time_limit_when_that_is_near(left, early_warning, cause):
    start = Start(job="41", ends_at=10_000.0, signal_seconds=300.0)
    assert cause_of_stop(start, at=10_000.0 - left, early_warning=early_warning) == cause


def test_without_a_job_a_signal_is_a_request():
    assert cause_of_stop(Start(), at=5.0, early_warning=True) == "asked"


def test_the_worker_stops_by_itself_halfway_between_the_signal_and_the_limit():
    start = Start(job="41", ends_at=10_000.0, signal_seconds=300.0)
    assert [start.is_over(10_000.0 - left) for left in (200, 151, 149, -5)] == [
        False,
        False,
        True,
        True,
    ]
    assert not Start().is_over(10_000.0)


@pytest.mark.parametrize(
    ("earlier", "start", "cause"),
    [
        # with accounting
        (SAVED, replace(AGAIN, last_state="PREEMPTED"), "preemption"),
        (SAVED, replace(AGAIN, last_state="REQUEUED", exits={0: "85"}), "requeue"),
        (DIED, replace(AGAIN, last_state="NODE_FAIL"), "node_failure"),
        (DIED, replace(AGAIN, last_state="PREEMPTED"), "preemption"),
        (DIED, replace(AGAIN, last_state="REQUEUED", exits={0: "137"}), "crash"),
        (DIED, replace(AGAIN, last_state="REQUEUED"), "requeue"),
        (replace(SAVED, cause="timeout"), replace(AGAIN, last_state="REQUEUED"), "timeout"),
        (replace(SAVED, cause="preemption"), replace(AGAIN, last_state="REQUEUED"), "preemption"),
        # without
        (SAVED, AGAIN, "preemption"),
        (DIED, AGAIN, "node_failure"),
        (DIED, replace(AGAIN, exits={0: "137"}), "crash"),
        # another process of its team was lost: by itself, or with its node, after which SLURM ends
        # the script as well
        (LOST, replace(AGAIN, exits={0: "85"}), "crash"),
        (LOST, AGAIN, "node_failure"),
        (LOST, replace(AGAIN, last_state="NODE_FAIL"), "node_failure"),
        (LOST, replace(AGAIN, last_state="REQUEUED"), "requeue"),
        # a start between the two did not come to its first word
        (DIED, replace(LATER, exits={1: "255"}), "node_failure"),
        (DIED, replace(LATER, exits={0: "137"}), "crash"),
        (DIED, replace(LATER, last_state="PREEMPTED"), "node_failure"),
        (SAVED, replace(LATER, last_state="REQUEUED"), "preemption"),
        # submitted again by hand: another job, whose accounting says nothing of this one
        (DIED, Start(job="57_0", last_state="PREEMPTED"), "crash"),
        (SAVED, Start(job="57_0"), "asked"),
        # the local queue
        (replace(DIED, job=""), Start(), "crash"),
        (replace(SAVED, job=""), Start(), "asked"),
        (replace(LOST, job=""), Start(), "crash"),
        # said so itself, or never began
        (replace(DIED, state="failed"), AGAIN, None),
        (replace(DIED, state="blocked"), AGAIN, None),
        (Status(state="queued"), AGAIN, None),
    ],
)
def test_how_the_attempt_before_ended(earlier, start, cause):
    assert cause_of_end(earlier, start) == cause


def test_causes_are_counted_separately():
    status = Status(state="queued")
    for state in ("PREEMPTED", "NODE_FAIL", "PREEMPTED"):
        ended, _ = count_interruptions(
            replace(DIED, ended=status.ended), replace(AGAIN, last_state=state)
        )
        status = replace(status, ended=ended)
    assert status.ended == {"preemption": 2, "node_failure": 1}
    assert refusal(status.ended, 0, retries=Retries(preemption=2, node_failure=1)) == ""
    assert "lost its node 1 times, and retries.node_failure in kdbatch.toml is 0" in refusal(
        status.ended, 0, retries=Retries(node_failure=0)
    )


@pytest.mark.parametrize("cause", sorted(set(CAUSE_TEXT) - {"asked", "disk_full", "memory"}))
def test_each_cause_has_a_limit_of_its_own(cause):
    retries = Retries(**{cause: 3})
    assert refusal({cause: 3}, 0, retries=retries) == ""
    message = refusal({cause: 4}, 0, retries=retries)
    assert f"retries.{cause} in kdbatch.toml is 3; see its log" in message
    assert message.endswith("then: kdbatch resume --retry-failed")


def test_stops_asked_for_by_a_person_are_not_limited():
    assert refusal({"asked": 10_000}, 0, retries=Retries()) == ""


STUCK = Status(state="stopped", cause="timeout", step=9, first_step=5, saved_step=5, job="41_0")


def test_two_time_limits_without_a_checkpoint_between_them_are_enough_whatever_was_trained():
    ended, fruitless = count_interruptions(STUCK, AGAIN)
    assert refusal(ended, fruitless, retries=Retries()) == ""
    ended, fruitless = count_interruptions(replace(STUCK, ended=ended, fruitless=fruitless), AGAIN)
    assert refusal(ended, fruitless, retries=Retries()).startswith(
        "no checkpoint was written between 2 time limits: raise minutes"
    )
    assert count_interruptions(replace(STUCK, saved_step=6, fruitless=fruitless), AGAIN)[1] == 0


def test_a_checkpoint_of_an_attempt_that_ended_otherwise_counts_between_two_time_limits():
    _, fruitless = count_interruptions(STUCK, AGAIN)
    preempted = replace(STUCK, cause="preemption", saved_step=9, fruitless=fruitless)
    _, fruitless = count_interruptions(preempted, AGAIN)
    ended, fruitless = count_interruptions(replace(STUCK, fruitless=fruitless), AGAIN)
    assert refusal(ended, fruitless, retries=Retries()) == ""


def test_a_failed_run_that_a_person_starts_again_counts_from_zero():
    assert count_interruptions(
        replace(DIED, state="failed", ended={"crash": 3}, fruitless=2), AGAIN
    ) == ({}, 0)


def test_a_start_is_read_back_from_its_variables():
    start = Start(job="41_3", restart=2, exits={0: "85", 1: "137"}, parent_pid=7)
    start = replace(start, ends_at=1.7e9, image_sha256="ab", last_state="NODE_FAIL")
    assert Start.from_environment(start.to_environment()) == start
    assert Start().to_environment() == {}


def test_every_exit_code_has_a_rule_and_a_signal_is_that_of_its_code():
    assert [exit_rule(code).name for code in (0, 1, 2, 78)] == [
        "done",
        "bug",
        "user error",
        "blocked",
    ]
    assert exit_rule(-9) == exit_rule(137) == exit_rule("137")
    assert exit_rule("137 out of memory") == exit_rule(200) == EXIT_RULES[-1]


def test_a_start_is_read_from_the_environment_and_malformed_values_mean_no_limit():
    env = {
        "KDBATCH_JOB": "41_3",
        "KDBATCH_ENDS_AT": "1700000000",
        "KDBATCH_SIGNAL_SECONDS": "300",
        "KDBATCH_LAST_STATE": "PREEMPTED",
    }
    env |= {"KDBATCH_RESTART": "3", "KDBATCH_EXITS": "0 85;2 137 out of memory;"}
    exits = {0: "85", 2: "137 out of memory"}
    assert Start.from_environment(env) == Start(
        job="41_3",
        restart=3,
        ends_at=1.7e9,
        signal_seconds=300.0,
        exits=exits,
        last_state="PREEMPTED",
    )
    assert (
        Start.from_environment(
            {"KDBATCH_ENDS_AT": "soon", "KDBATCH_RESTART": "", "KDBATCH_EXITS": "?"}
        )
        == Start()
    )
