import json
import re
from dataclasses import fields
from pathlib import Path
from typing import Literal, get_args

import polars as pl
from support.reports import find_run_id, resubmit_student
from support.studies import BuiltReport, WriteStudy

from kdbatch.base.atomic_write import load_json
from kdbatch.report.build import build_report
from kdbatch.report.labels import RoleGroup
from kdbatch.report.results_export import RESULT_COLUMNS
from kdbatch.vocab.plans.declarations import Untestable
from kdbatch.vocab.status import RunState

SCHEMA = Path(__file__).parents[2] / "docs" / "RESULTS_SCHEMA.md"


def test_results_have_every_row_once_per_role_with_the_facts_of_its_run(
    finished_report: BuiltReport,
) -> None:
    frame = pl.read_parquet(finished_report.report_dir / "results.parquet")
    assert dict(frame.schema) == RESULT_COLUMNS
    (row,) = frame.filter(name="top1", role="student", case="target=ucf101;subset=30k").to_dicts()
    assert (row["value"], row["table"]) == (88.0, "rows")
    assert row["run_id"] == find_run_id(finished_report.record, "student", "30k")
    assert (row["kind"], row["seed"]) == ("distill", 0) and len(row["parents"]) == 2
    assert (row["experiment"], row["profile"]) == ("subset_size", "toy")
    pretraining = frame.filter(kind="pretrain")  # has no role of its own
    assert pretraining.height and pretraining["role"].null_count() == pretraining.height
    assert set(frame["table"]) == {"rows", "curves"}
    assert set(frame.filter(table="rows")["step"]) == {0}


def test_the_documented_keys_of_report_json_are_its_keys(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    record, runs_dir = write_study()
    resubmit_student(runs_dir, record, epochs=6)
    report = load_json(build_report(runs_dir, to=tmp_path).data)
    coverage, table, claim = report["coverage"], report["tables"][0], report["claims"][0]
    keys = {
        "version": set[str](),
        "statistics": set[str](),
        "coverage.runs": set(coverage["runs"]),
        "coverage.experiments[]": set(coverage["experiments"][0]),
        "coverage.experiments[].frame_rates[]": set(coverage["experiments"][0]["frame_rates"][0]),
        "coverage.verdicts": set(coverage["verdicts"]),
        "tables[]": set(table),
        "tables[].numbers[]": set(table["numbers"][0]),
        "claims[]": set(claim),
        "claims[].comparisons[]": set(claim["comparisons"][0]),
        "untestable[]": {"experiment", *(field.name for field in fields(Untestable))},
        "runs[]": set(report["runs"][0]),
        "recipes[]": set[str](),
        "cells[]": set(report["cells"][0]),
        "earlier_runs[]": set(report["earlier_runs"][0]),
        "warnings[]": set(),
    }
    values = {
        "coverage.runs": RunState,
        "tables[].numbers[]": RoleGroup,
        "claims[]": Literal["points", "index"],
    }
    documented = documented_keys()
    assert documented == {
        path: names | set(get_args(values.get(path))) for path, names in keys.items()
    }
    assert {re.split(r"\W", path)[0] for path in documented} == set(report)


def documented_keys() -> dict[str, set[str]]:
    """Return the names in code quotes by path, from the section on report.json."""
    text = SCHEMA.read_text(encoding="utf-8")
    section = text.split("## `report/report.json`")[1].split("\n## ")[0]
    lines = re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, re.MULTILINE)
    return {path: set(re.findall(r"`([^`]+)`", meaning)) for path, meaning in lines}


def test_report_json_counts_runs_and_has_the_numbers_of_the_table(
    partial_report: BuiltReport,
) -> None:
    report = json.loads(partial_report.summary.data.read_text())
    coverage = report["coverage"]
    assert sum(coverage["runs"].values()) == 15 and coverage["runs"]["done"] == 13
    (experiment,) = coverage["experiments"]
    rates = experiment.pop("frame_rates")
    assert experiment == {"experiment": "subset_size", "profile": "toy", "done": 13, "runs": 15}
    assert {rate["subset"]: rate["repeated_share"] for rate in rates} == {"ucf101/test01": 0.125}
    page = partial_report.page
    assert ">Frame rates</h3>" in page and "12.5 %" in page
    case = {"target": "ucf101", "subset": "10k"}
    numbers = report["tables"][0]["numbers"]
    (number,) = [n for n in numbers if n["role"] == "T1" and n["case"] == case]
    assert (number["mean"], number["seeds_done"], number["seeds_planned"]) == (50.0, 1, 1)
    assert report["warnings"] == list(partial_report.summary.warnings)


def test_a_damaged_rows_file_is_named_and_the_other_rows_are_there(
    write_study: WriteStudy, tmp_path: Path
) -> None:
    record, runs_dir = write_study()
    bad = runs_dir / find_run_id(record, "T1", "10k") / "rows.parquet"
    bad.write_bytes(bad.read_bytes()[:100])
    summary = build_report(runs_dir, to=tmp_path / "report")
    assert any(str(bad) in line for line in summary.warnings)
    frame = pl.read_parquet(tmp_path / "report" / "results.parquet")
    top1 = frame.filter(name="top1", case="target=ucf101;subset=10k")
    assert set(top1["role"]) == {"T2", "student", "labels_only"}
