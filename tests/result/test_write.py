import ast
import re
from pathlib import Path
from typing import get_args

import polars as pl
import pytest
from support.inputs import JOBS

from kdbatch.result.schema import CURVES, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.vocab.metrics import Unit

ROOT = JOBS.parent


def test_measures_come_back_in_order_with_exactly_the_columns_of_the_schema(tmp_path: Path) -> None:
    measures = [
        Measure(name="train_seconds", value=2.5, unit="seconds", step=10),
        Measure(name="loss", value=1.5, unit="1", step=20),
    ]
    write_measures(tmp_path / "curves.parquet", "ra", measures, schema=CURVES)
    frame = pl.read_parquet(tmp_path / "curves.parquet")
    assert dict(frame.schema) == CURVES
    assert frame.rows() == [
        ("ra", "train_seconds", 2.5, "seconds", "", 10),
        ("ra", "loss", 1.5, "1", "", 20),
    ]


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.parquet", [], schema=ROWS)
    assert pl.read_parquet(tmp_path / "rows.parquet").columns == list(ROWS)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_measures(path, "ra", [Measure(name="top1", value=1.0, unit="percent")], schema=ROWS)
    before = path.read_bytes()
    with pytest.raises((TypeError, pl.exceptions.PolarsError)):
        write_table(path, [{"run_id": "ra", "value": "not a number"}], schema=ROWS)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]


def test_the_units_are_exactly_those_that_runs_write() -> None:
    written = set()
    for path in sorted((ROOT / "kdbatch" / "run").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == "unit":
                assert not isinstance(node.value, ast.JoinedStr), path
                if isinstance(node.value, ast.Constant):
                    written.add(node.value.value)
    assert written == set(get_args(Unit))


def test_the_documented_units_are_the_units() -> None:
    text = (ROOT / "docs" / "RESULTS_SCHEMA.md").read_text(encoding="utf-8")
    (line,) = (line for line in text.splitlines() if line.startswith("| `unit` |"))
    documented = re.findall(r"`([^`]+)`", line.split("|", 3)[3])
    assert documented == list(get_args(Unit))
