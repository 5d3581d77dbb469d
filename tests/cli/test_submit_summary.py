"""The last lines of `submit` with the local queue: sums of the whole plan, and the next command."""

from dataclasses import replace
from pathlib import Path

import pytest
from support.launching import config_in, ids, plan_of

from kdbatch.cli.submit_summary import (
    MAX_LEFT_OUT_LINES,
    dry_run_lines,
    left_out_lines,
    local_lines,
)
from kdbatch.launch.exclude_failed import FailedExcluded, exclude_failed
from kdbatch.launch.local.run import LocalOutcome
from kdbatch.launch.run_folders import write_runs
from kdbatch.launch.saved_plans import SubmitRequest
from kdbatch.launch.states.run_row import RunRow
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import RunState

REQUEST = SubmitRequest(files=(Path("jobs/a b.yaml"),), profile="micro", local=True, jobs=2)
COMMAND = "kdbatch submit 'jobs/a b.yaml' --profile micro --local --jobs 2"
PLAN = plan_of({"a": (), "b": ("a",), "c": ("b",), "other": ()})


def row(name: str, state: RunState, *, reason: str = "") -> RunRow:
    return RunRow(run_id=ids(PLAN)[name], title=name, kind="compare", state=state, reason=reason)


def nothing_excluded(plan: Plan) -> FailedExcluded:
    return FailedExcluded(plan=plan, failed=(), waiting=())


def lines_of(outcome: LocalOutcome, excluded: FailedExcluded, runs_dir: Path) -> list[str]:
    return list(local_lines(PLAN, outcome, excluded, REQUEST, runs_dir=runs_dir))


def test_what_is_left_out_is_counted_named_and_tried_again_with_the_whole_command(tmp_path):
    excluded = exclude_failed(PLAN, [row("a", "failed", reason="no luck")])
    names = ids(PLAN)
    assert list(left_out_lines(PLAN, excluded)) == [
        f"left out: {names['a']} a failed before: no luck",
        f"left out: {names['b']} b waits for {names['a']}",
        f"left out: {names['c']} c waits for {names['b']}",
    ]
    outcome = LocalOutcome(rows=(row("other", "done"),), interrupted=False)
    assert lines_of(outcome, excluded, tmp_path) == [
        "4 runs: 1 done, 1 left out (failed before), 2 left out (a parent was left out)",
        f"Try failed runs again: {COMMAND} --retry-failed",
    ]


def test_the_report_comes_next_only_when_the_whole_plan_is_done(tmp_path):
    rows = tuple(row(name, "done") for name in ids(PLAN))
    done = LocalOutcome(rows=rows, interrupted=False)
    assert lines_of(done, nothing_excluded(PLAN), tmp_path) == [
        "4 runs: 4 done. Next: kdbatch report"
    ]
    failed = replace(done, rows=(*rows[:3], row("other", "failed", reason="no luck")))
    lines = lines_of(failed, nothing_excluded(PLAN), tmp_path)
    other = ids(PLAN)["other"]
    assert lines[-3:] == [
        "4 runs: 3 done, 1 failed",
        f"Why one failed: kdbatch logs {other}",
        f"Try failed runs again: {COMMAND} --retry-failed",
    ]


@pytest.mark.parametrize(
    ("disk_full", "beginning", "end"),
    [
        ("", "Stopped: ", f"Resume: {COMMAND}"),
        (
            "runs/r1/x: No space left on device (0 bytes free)",
            "No space: runs/r1/x: No space left on device (0 bytes free). ",
            f"Make room, then: {COMMAND}",
        ),
    ],
)
def test_a_stopped_queue_says_what_is_saved_and_the_command(tmp_path, disk_full, beginning, end):
    config = config_in(tmp_path)
    write_runs(PLAN, config=config)
    RunFolder(config.runs_dir / ids(PLAN)["b"]).checkpoint.touch()
    rows = (row("a", "done"), row("b", "stopped"), row("c", "planned"), row("other", "stopped"))
    outcome = LocalOutcome(rows=rows, interrupted=not disk_full, disk_full=disk_full)
    assert lines_of(outcome, nothing_excluded(PLAN), config.runs_dir) == [
        f"{beginning}1 of 4 runs are done, the progress of 1 is saved. {end}"
    ]


def test_many_runs_that_are_left_out_are_not_all_listed():
    plan = plan_of({str(i): () for i in range(30)})
    rows = [replace(row("a", "failed"), run_id=run_id) for run_id in ids(plan).values()]
    lines = list(left_out_lines(plan, exclude_failed(plan, rows)))
    assert len(lines) == MAX_LEFT_OUT_LINES + 1
    assert lines[-1] == f"left out: {30 - MAX_LEFT_OUT_LINES} more. See all: kdbatch status"


def test_a_dry_run_ends_with_its_sum_and_the_command_that_starts_it():
    assert list(dry_run_lines(PLAN, total=6, start=COMMAND)) == [
        "6 runs: 4 to start or in the queue, about 4.0 h of computing.",
        f"Nothing was started. To start them: {COMMAND}",
    ]
    done = replace(PLAN, runs=tuple(replace(planned, done=True) for planned in PLAN.runs))
    assert list(dry_run_lines(done, total=4, start=COMMAND)) == ["4 runs: none to start."]
