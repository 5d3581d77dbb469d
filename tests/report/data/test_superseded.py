"""Two versions of a recipe side by side: the newest plan fills the report, the older runs are
named.
"""

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
from support.reports import TABLE, resubmit_student

from kdbatch.base.atomic_write import write_json
from kdbatch.report.build import build_report
from kdbatch.report.data.study import load_study
from kdbatch.report.data.superseded import find_superseded


def test_a_run_that_no_plan_asks_for_is_named_with_what_took_its_place_and_why(
    written: Callable,
) -> None:
    record, runs_dir = written()
    assert find_superseded(load_study(runs_dir)) == ()
    old, new = resubmit_student(runs_dir, record, epochs=6)
    (found,) = find_superseded(load_study(runs_dir))
    assert (found.facts.run_id, found.replaced_by, found.differences) == (
        old,
        new,
        "schedule.epochs 5, now 6",
    )


def test_its_numbers_are_in_no_table_claim_or_row(written: Callable, tmp_path: Path) -> None:
    record, runs_dir = written()
    old, new = resubmit_student(runs_dir, record, epochs=6)
    made = build_report(runs_dir, to=tmp_path / "report")
    assert (made.num_superseded, made.done, made.total) == (1, 14, 15)
    told = json.loads(made.data.read_text())
    student = [
        n
        for n in told["tables"][0]["numbers"]
        if n["role"] == "student" and n["case"]["subset"] == "10k"
    ]
    assert [(n["mean"], n["seeds_done"]) for n in student] == [(None, 0)] and told["tables"][0][
        "table"
    ] == TABLE.id
    assert [c["verdict"] for c in told["claims"] if c["claim"]["id"] == "above"] == ["not-yet"]
    assert [(r["run_id"], r["now"]) for r in told["earlier_runs"]] == [(old, new)]
    assert old not in pl.read_parquet(tmp_path / "report" / "results.parquet")["run_id"]
    page = made.page.read_text()
    assert (
        "Runs of earlier versions" in page
        and f'<td class="text">{old}</td>' in page
        and "schedule.epochs 5, now 6" in page
    )


def test_folders_that_are_no_runs_and_damaged_ones_are_passed_over(
    written: Callable, one_seed
) -> None:
    record, runs_dir = written()
    write_json(runs_dir / "rubbish" / "run.json", {"not": "a run"})
    (runs_dir / "r0000000000").mkdir()
    (runs_dir / "r0000000001").mkdir()
    (runs_dir / "r0000000001" / "run.json").write_text("{")
    study = load_study(runs_dir)
    assert find_superseded(study) == () and study.warnings == () and record.cells
    assert "Runs of earlier versions" not in one_seed.page
