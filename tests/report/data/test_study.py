import time
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from support.report_runs import mark_failed
from support.reports import find_run_id
from support.studies import MakeStudy, WriteStudy

from kdbatch.base.errors import UserError
from kdbatch.report.data.study import load_study, matching_cells
from kdbatch.result.digests import digest_label_ranks, digest_results
from kdbatch.vocab.done import load_done, save_done
from kdbatch.vocab.plans.records import save_record
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import Status, save_status


def test_without_a_plan_the_error_names_the_command_to_type(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was submitted yet.*kdbatch submit"):
        load_study(tmp_path)


def test_ancestors_belong_to_a_plan_and_come_before_their_children(make_study: MakeStudy) -> None:
    record, study = make_study()
    runs = study.runs_of(record)
    assert len(runs) == 15 and [run.kind for run in runs].count("pretrain") == 4
    position = {run.run_id: i for i, run in enumerate(runs)}
    for run in runs:
        assert all(position[parent] < position[run.run_id] for parent in run.parents)


def test_experiments_come_in_the_order_of_their_tables(write_study: WriteStudy) -> None:
    record, runs_dir = write_study()
    later_table = replace(record.tables[0], id="table2")
    save_record(runs_dir, replace(record, experiment="a_later", tables=(later_table,)))
    assert [r.experiment for r in load_study(runs_dir).records] == ["subset_size", "a_later"]


@pytest.mark.parametrize(
    ("status", "state"),
    [
        (None, "planned"),
        (Status(state="queued"), "queued"),
        (Status(state="failed", reason="why"), "failed"),
        (Status(state="running", heartbeat_at=time.time() + 86_400), "running"),
        (Status(state="running", heartbeat_at=1.0), "stale"),
        (Status(state="done"), "stopped"),
    ],
)
def test_a_run_without_done_json_is_not_done_whatever_its_status(
    write_study: WriteStudy, status: Status | None, state: str
) -> None:
    record, runs_dir = write_study()
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
        ("{}", 0),
        ('{"attempts": "x", "device_hours": -3, "finished_at": {}, "seconds": null, "host": 1}', 4),
    ],
)
def test_a_damaged_done_json_costs_only_its_wrong_fields_and_each_is_named(
    write_study: WriteStudy, text: str, num_warnings: int
) -> None:
    record, runs_dir = write_study()
    folder = RunFolder(runs_dir / find_run_id(record, "T1", "10k"))
    folder.done.write_text(text)
    folder.status.unlink()
    study = load_study(runs_dir)
    run = study.runs[folder.id]
    assert (run.state, run.attempts, run.device_hours, run.finished_at) == ("done", None, None, "")
    assert study.value(folder.id, "top1") == 50.0
    assert len(study.warnings) == num_warnings


@pytest.mark.parametrize("text", ["", "[1]", '{"kdbatch_format": 1}'])
def test_a_run_whose_record_is_damaged_is_damaged_and_has_no_numbers(
    write_study: WriteStudy, text: str
) -> None:
    record, runs_dir = write_study()
    folder = RunFolder(runs_dir / find_run_id(record, "T1", "10k"))
    folder.done.write_text(text)
    study = load_study(runs_dir)
    run = study.runs[folder.id]
    assert run.state == "damaged" and "done.json" in run.reason
    assert study.warnings == (run.reason,)
    assert study.value(folder.id, "top1") is None and folder.id not in study.label_ranks


def test_label_ranks_that_a_run_did_not_write_are_named_and_left_out(
    write_study: WriteStudy,
) -> None:
    record, runs_dir = write_study()
    folder = RunFolder(runs_dir / find_run_id(record, "T1", "10k"))
    done = load_done(folder.done, warn=pytest.fail)
    assert done is not None
    files, ranks = digest_results(folder, known={}), digest_label_ranks(folder)
    save_done(folder.done, replace(done, files=files, label_ranks_sha256=ranks))
    assert not load_study(runs_dir).warnings
    frame = pl.read_parquet(folder.predictions)
    for changed in (
        frame.with_columns(pl.lit(0, pl.Int32).alias("place")),
        frame.clear(),
    ):
        changed.write_parquet(folder.predictions)
        study = load_study(runs_dir)
        (warning,) = study.warnings
        assert "its label ranks are not those that were written there" in warning
        assert folder.id not in study.label_ranks and study.value(folder.id, "top1") == 50.0
    folder.predictions.unlink()
    (warning,) = load_study(runs_dir).warnings
    assert "predictions.parquet: is missing, though the run is done" in warning


def test_a_damaged_run_json_is_named(write_study: WriteStudy) -> None:
    record, runs_dir = write_study()
    folder = RunFolder(runs_dir / find_run_id(record, "student", "10k"))
    folder.assignment.write_text("{")
    study = load_study(runs_dir)
    assert str(folder.assignment) in study.warnings[0] and study.runs[folder.id].kind == "distill"


def test_roles_and_axes_have_the_order_of_the_tables(make_study: MakeStudy) -> None:
    record, _ = make_study()
    assert list(record.roles) == ["T1", "T2", "student", "labels_only"]
    assert list(record.axes) == list(record.cells[0].case) == ["target", "subset"]


def test_cells_of_an_open_axis_come_in_the_order_of_the_plan(make_study: MakeStudy) -> None:
    record, _ = make_study(seeds=(0, 1))
    cells = [cell for cell in record.cells if cell.role == "student"]
    assert list(matching_cells(record, "student", {})) == cells
    mixed = replace(record, cells=tuple(sorted(record.cells, key=lambda cell: cell.seed)))
    found = matching_cells(mixed, "student", {"target": "ucf101"})
    assert list(found) == [cell for cell in mixed.cells if cell.role == "student"]
    assert [cell.seed for cell in found] == [0, 0, 1, 1]
    of_case = matching_cells(mixed, "student", {"subset": "10k"})
    assert [(cell.seed, cell.case["subset"]) for cell in of_case] == [(0, "10k"), (1, "10k")]
    assert matching_cells(record, "student", {"subset": "7k"}) == ()
    assert matching_cells(record, "nobody", {}) == ()


def test_a_failed_run_keeps_its_cost(write_study: WriteStudy) -> None:
    record, runs_dir = write_study()
    run = find_run_id(record, "student", "30k")
    mark_failed(RunFolder(runs_dir / run), "out of memory")
    facts = load_study(runs_dir).runs[run]
    assert (facts.attempts, facts.device_hours) == (2, pytest.approx(30 / 3600))
