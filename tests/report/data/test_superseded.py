"""Two versions of a recipe: the newest plan fills the report, the older runs are only listed."""

import json
from pathlib import Path

import polars as pl
from support.reports import TABLE, resubmit_student
from support.studies import BuiltReport, WriteStudy

from kdbatch.base.atomic_write import write_json
from kdbatch.report.build import build_report
from kdbatch.report.data.study import load_study
from kdbatch.report.data.superseded import find_superseded


def test_a_superseded_run_is_listed_with_its_replacement_and_the_differences(
    write_study: WriteStudy,
) -> None:
    record, runs_dir = write_study()
    assert find_superseded(load_study(runs_dir)) == ((), ())
    old, new = resubmit_student(runs_dir, record, epochs=6)
    (run,), warnings = find_superseded(load_study(runs_dir))
    assert warnings == ()
    assert (run.facts.run_id, run.replaced_by) == (old, new)
    assert run.differences == "schedule.epochs 5, now 6"


def test_its_numbers_are_in_no_table_claim_or_row(write_study: WriteStudy, tmp_path: Path) -> None:
    record, runs_dir = write_study()
    old, new = resubmit_student(runs_dir, record, epochs=6)
    summary = build_report(runs_dir, to=tmp_path / "report")
    assert (summary.num_superseded, summary.done, summary.total) == (1, 14, 15)
    report = json.loads(summary.data.read_text())
    table = report["tables"][0]
    assert table["table"] == TABLE.id
    students = [n for n in table["numbers"] if n["role"] == "student"]
    (number,) = (n for n in students if n["case"]["subset"] == "10k")
    assert (number["mean"], number["seeds_done"]) == (None, 0)
    verdicts = {checked["claim"]["id"]: checked["verdict"] for checked in report["claims"]}
    assert verdicts["above"] == "not-yet"
    assert [(run["run_id"], run["now"]) for run in report["earlier_runs"]] == [(old, new)]
    rows = pl.read_parquet(tmp_path / "report" / "results.parquet")
    assert old not in rows["run_id"]


def test_the_page_lists_it(write_study: WriteStudy, tmp_path: Path) -> None:
    record, runs_dir = write_study()
    old, _ = resubmit_student(runs_dir, record, epochs=6)
    page = build_report(runs_dir, to=tmp_path / "report").page.read_text()
    assert "Runs of earlier versions" in page
    assert f'<td class="text">{old}</td>' in page and "schedule.epochs 5, now 6" in page


def test_a_damaged_run_json_is_told_and_other_folders_are_skipped(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    _, runs_dir = write_study()
    write_json(runs_dir / "rubbish" / "run.json", {"not": "a run"})
    (runs_dir / "r0000000000").mkdir()
    damaged = runs_dir / "r0000000001" / "run.json"
    damaged.parent.mkdir()
    damaged.write_text("{")
    (runs_dir / "r0000000002").mkdir()
    (runs_dir / "r0000000002" / "run.json").symlink_to("run.json")
    study = load_study(runs_dir)
    found, (line, unreadable) = find_superseded(study)
    assert found == () and study.warnings == ()
    assert line == (
        f"{damaged}: is damaged, and no plan names this run: it is not listed. "
        f"Delete {damaged.parent} unless you need its files."
    )
    assert unreadable.startswith("r0000000002, which no plan names, is not listed: ")
    assert line in build_report(runs_dir, to=tmp_path / "report").warnings


def test_a_study_without_earlier_runs_has_no_list_of_them(finished_report: BuiltReport) -> None:
    assert "Runs of earlier versions" not in finished_report.page
