"""Two versions of a recipe side by side: the newest plan fills the report, the older runs are named."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import polars as pl
from report_world import TABLE, run_of

from kdbatch.report.build import build_report
from kdbatch.report.earlier import earlier_runs
from kdbatch.report.study import load_study
from kdbatch.vocab.plans import PlanRecord, save_record
from kdbatch.vocab.publish import publish_json
from kdbatch.vocab.recipes import Distill
from kdbatch.vocab.runs import RunFolder


def submit_again(runs_dir: Path, record: PlanRecord, *, epochs: int) -> tuple[str, str]:
    """The student of 10k with another schedule takes the place of the finished one, and is not done. Returns (old id, new id)."""
    old = RunFolder(runs_dir / run_of(record, "student", "10k"))
    assignment = old.load()
    assert isinstance(assignment.run.recipe, Distill)
    schedule = dataclasses.replace(assignment.run.recipe.schedule, epochs=epochs)
    run = dataclasses.replace(assignment.run, recipe=dataclasses.replace(assignment.run.recipe, schedule=schedule))
    RunFolder(runs_dir / run.id).save(dataclasses.replace(assignment, run=run))
    cells = tuple(dataclasses.replace(c, run_id=run.id) if c.run_id == old.id else c for c in record.cells)
    save_record(runs_dir, dataclasses.replace(record, cells=cells))
    return old.id, run.id


def test_a_run_that_no_plan_asks_for_is_named_with_what_took_its_place_and_why(written: Callable) -> None:
    record, runs_dir = written()
    assert earlier_runs(load_study(runs_dir)) == ()
    old, new = submit_again(runs_dir, record, epochs=6)
    (found,) = earlier_runs(load_study(runs_dir))
    assert (found.facts.run_id, found.now, found.differs) == (old, new, "schedule.epochs 5, now 6")


def test_its_numbers_are_in_no_table_claim_or_row(written: Callable, tmp_path: Path) -> None:
    record, runs_dir = written()
    old, new = submit_again(runs_dir, record, epochs=6)
    made = build_report(runs_dir, to=tmp_path / "report")
    assert (made.num_earlier, made.done, made.total) == (1, 14, 15)
    told = json.loads(made.data.read_text())
    student = [n for n in told["tables"][0]["numbers"] if n["role"] == "student" and n["case"]["subset"] == "10k"]
    assert [(n["mean"], n["seeds_done"]) for n in student] == [(None, 0)] and told["tables"][0]["table"] == TABLE.id
    assert [c["verdict"] for c in told["claims"] if c["claim"]["id"] == "above"] == ["not-yet"]
    assert [(r["run_id"], r["now"]) for r in told["earlier_runs"]] == [(old, new)]
    assert old not in pl.read_parquet(tmp_path / "report" / "results.parquet")["run_id"]
    page = made.page.read_text()
    assert "Runs of earlier versions" in page and f'<td class="text">{old}</td>' in page and "schedule.epochs 5, now 6" in page


def test_folders_that_are_no_runs_and_damaged_ones_are_passed_over(written: Callable, one_seed) -> None:
    record, runs_dir = written()
    publish_json(runs_dir / "rubbish" / "run.json", {"not": "a run"})
    (runs_dir / "r0000000000").mkdir()
    (runs_dir / "r0000000001").mkdir()
    (runs_dir / "r0000000001" / "run.json").write_text("{")
    study = load_study(runs_dir)
    assert earlier_runs(study) == () and study.warnings == () and record.cells
    assert "Runs of earlier versions" not in one_seed.page
