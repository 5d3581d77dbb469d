import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

import polars as pl
from support.reports import find_run_id, resubmit_student

from kdbatch.report.build import build_report
from kdbatch.report.data.study import RunState
from kdbatch.report.json_export import RESULT_COLUMNS
from kdbatch.report.labels import RoleGroup

SCHEMA = Path(__file__).parents[2] / "docs" / "RESULTS_SCHEMA.md"


def test_results_hold_every_row_once_per_role_with_what_the_run_was(one_seed) -> None:
    frame = pl.read_parquet(one_seed.report_dir / "results.parquet")
    assert dict(frame.schema) == RESULT_COLUMNS
    (row,) = frame.filter(name="top1", role="student", case="target=ucf101;subset=30k").to_dicts()
    assert (
        row["value"] == 88.0
        and row["run_id"] == find_run_id(one_seed.record, "student", "30k")
        and row["table"] == "rows"
    )
    assert (row["kind"], row["seed"], row["experiment"], row["profile"]) == (
        "distill",
        0,
        "subset_size",
        "toy",
    ) and len(row["parents"]) == 2
    pretraining = frame.filter(kind="pretrain")
    assert (
        pretraining.height and pretraining["role"].null_count() == pretraining.height
    )  # no role of its own
    assert set(frame["table"]) == {"rows", "curves"} and set(
        frame.filter(table="rows")["step"]
    ) == {0}


def test_the_documented_keys_of_the_report_for_programs_are_its_keys(
    written: Callable, tmp_path: Path
) -> None:
    record, runs_dir = written()
    resubmit_student(runs_dir, record, epochs=6)
    told = json.loads(build_report(runs_dir, to=tmp_path).data.read_text())
    found = {
        "coverage.runs": set(told["coverage"]["runs"]),
        "coverage.experiments[]": set(told["coverage"]["experiments"][0]),
        "coverage.verdicts": set(told["coverage"]["verdicts"]),
        "tables[]": set(told["tables"][0]),
        "tables[].numbers[]": set(told["tables"][0]["numbers"][0]),
        "claims[]": set(told["claims"][0]),
        "claims[].comparisons[]": set(told["claims"][0]["comparisons"][0]),
        "earlier_runs[]": set(told["earlier_runs"][0]),
        "warnings[]": set(),
    }
    values = {
        "coverage.runs": RunState,
        "tables[].numbers[]": RoleGroup,
        "claims[]": Literal["points", "index"],
    }
    section = (
        SCHEMA.read_text(encoding="utf-8").split("## `report/report.json`")[1].split("\n## ")[0]
    )
    lines = re.findall(r"^\| `([^`]+)` \| (.*) \|$", section, re.MULTILINE)
    documented = {place: set(re.findall(r"`([^`]+)`", meaning)) for place, meaning in lines}
    assert documented == {
        place: keys | set(get_args(values.get(place))) for place, keys in found.items()
    }
    assert {re.split(r"\W", place)[0] for place in documented} == set(told)


def test_the_report_for_programs_counts_runs_and_prints_the_table_s_numbers(partial) -> None:
    told = json.loads(partial.summary.data.read_text())
    assert sum(told["coverage"]["runs"].values()) == 15 and told["coverage"]["runs"]["done"] == 13
    assert told["coverage"]["experiments"] == [
        {"experiment": "subset_size", "profile": "toy", "done": 13, "runs": 15}
    ]
    at = {"target": "ucf101", "subset": "10k"}
    (number,) = [n for n in told["tables"][0]["numbers"] if n["role"] == "T1" and n["case"] == at]
    assert (number["mean"], number["seeds_done"], number["seeds_planned"]) == (50.0, 1, 1)
    assert told["warnings"] == list(partial.summary.warnings)


def test_a_damaged_rows_file_is_named_and_the_rest_is_there(
    written: Callable, tmp_path: Path
) -> None:
    record, runs_dir = written()
    bad = runs_dir / find_run_id(record, "T1", "10k") / "rows.parquet"
    bad.write_bytes(bad.read_bytes()[:100])
    made = build_report(runs_dir, to=tmp_path / "report")
    assert any(str(bad) in line for line in made.warnings)
    roles = pl.read_parquet(tmp_path / "report" / "results.parquet").filter(
        name="top1", case="target=ucf101;subset=10k"
    )["role"]
    assert set(roles) == {"T2", "student", "labels_only"}
