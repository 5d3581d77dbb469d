import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.reports import find_run_id, mark_failed

from kdbatch.base.errors import UserError
from kdbatch.report.data.study import load_study
from kdbatch.vocab.plans import save_record
from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.status import Status, save_status


def test_no_plan_is_one_line_with_the_command_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was submitted yet.*kdbatch submit"):
        load_study(tmp_path)


def test_ancestors_belong_to_a_plan_and_come_before_their_children(studied: Callable) -> None:
    record, study = studied()
    order = [run.run_id for run in study.runs_of(record)]
    assert len(order) == 15 and [run.kind for run in study.runs_of(record)].count("pretrain") == 4
    assert all(
        order.index(parent) < order.index(run.run_id)
        for run in study.runs_of(record)
        for parent in run.parents
    )


def test_experiments_come_in_the_order_of_their_tables(written: Callable) -> None:
    record, runs_dir = written()
    save_record(
        runs_dir,
        replace(record, experiment="a_later", tables=(replace(record.tables[0], id="table2"),)),
    )
    assert [r.experiment for r in load_study(runs_dir).records] == ["subset_size", "a_later"]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, "not started"),
        (Status(state="queued"), "queued"),
        (Status(state="failed", reason="why"), "failed"),
        (Status(state="running", heartbeat_at=time.time() + 86_400), "running"),
        (Status(state="running", heartbeat_at=1.0), "stalled"),
        (Status(state="done"), "stopped"),
    ],
)
def test_a_run_without_done_json_is_not_done_whatever_it_says(
    written: Callable, status: Status | None, state: str
) -> None:
    record, runs_dir = written()
    folder = RunFolder(runs_dir / find_run_id(record, "T1", "10k"))
    folder.done.unlink()
    folder.status.unlink()
    if status:
        save_status(folder.status, status)
    study = load_study(runs_dir)
    run = study.runs[folder.id]
    assert (run.state, run.reason) == (state, status.reason if status else "")
    assert study.value(folder.id, "top1") is None


@pytest.mark.parametrize(
    ("text", "num_warnings"),
    [
        ("", 1),
        ("[1]", 1),
        ("{}", 0),
        ('{"attempts": "x", "device_hours": -3, "finished_at": {}, "seconds": null, "host": 1}', 4),
    ],
)
def test_a_damaged_done_json_costs_only_its_wrong_fields_and_each_is_named(
    written: Callable, text: str, num_warnings: int
) -> None:
    record, runs_dir = written()
    folder = RunFolder(runs_dir / find_run_id(record, "T1", "10k"))
    folder.done.write_text(text)
    folder.status.unlink()
    study = load_study(runs_dir)
    run = study.runs[folder.id]
    assert (run.state, run.attempts, run.device_hours, run.finished_at) == ("done", None, None, "")
    assert study.value(folder.id, "top1") == 50.0
    assert len(study.warnings) == num_warnings


def test_a_damaged_run_json_is_named(written: Callable) -> None:
    record, runs_dir = written()
    folder = RunFolder(runs_dir / find_run_id(record, "student", "10k"))
    folder.assignment.write_text("{")
    study = load_study(runs_dir)
    assert str(folder.assignment) in study.warnings[0] and study.runs[folder.id].kind == "distill"


def test_names_come_in_the_order_of_the_tables_not_of_the_alphabet(studied: Callable) -> None:
    record, _ = studied()
    assert list(record.roles) == ["T1", "T2", "student", "labels_only"]
    assert list(record.axes) == list(record.cells[0].case) == ["target", "subset"]


def test_a_failed_run_keeps_its_cost(written: Callable) -> None:
    record, runs_dir = written()
    run = find_run_id(record, "student", "30k")
    mark_failed(RunFolder(runs_dir / run), "out of memory")
    facts = load_study(runs_dir).runs[run]
    assert (facts.attempts, facts.device_hours) == (2, pytest.approx(30 / 3600))
