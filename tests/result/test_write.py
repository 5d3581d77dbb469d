from pathlib import Path

import polars as pl
import pytest

from kdbatch.result.schema import CURVES, ROWS
from kdbatch.result.write import Measure, write_measures, write_table


def test_measures_come_back_in_order_with_exactly_the_columns_of_the_schema(tmp_path: Path) -> None:
    measures = [
        Measure(name="loss", value=2.5, unit="nats", step=10),
        Measure(name="loss", value=1.5, unit="nats", step=20),
    ]
    write_measures(tmp_path / "curves.parquet", "ra", measures, schema=CURVES)
    frame = pl.read_parquet(tmp_path / "curves.parquet")
    assert dict(frame.schema) == CURVES
    assert frame.rows() == [
        ("ra", "loss", 2.5, "nats", "", 10),
        ("ra", "loss", 1.5, "nats", "", 20),
    ]


def test_no_rows_still_make_a_table_with_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "rows.parquet", [], schema=ROWS)
    assert pl.read_parquet(tmp_path / "rows.parquet").columns == list(ROWS)


def test_a_writer_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    write_measures(path, "ra", [Measure(name="top1", value=1.0, unit="percent")], schema=ROWS)
    before = path.read_bytes()
    with pytest.raises((TypeError, pl.exceptions.PolarsError)):
        write_table(path, [{"run_id": "ra", "value": "not a number"}], schema=ROWS)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["rows.parquet"]
