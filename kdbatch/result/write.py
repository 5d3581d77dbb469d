"""Writes the Parquet files of a run, each completely or not at all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from kdbatch.base.atomic_write import atomic_write
from kdbatch.base.reading.local_name import local_name
from kdbatch.vocab.metrics import Unit


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One number that a run measured. `subset` names the videos, for example `ucf101/test01`."""

    name: str
    value: float
    unit: Unit
    subset: str = ""
    step: int = 0


def write_table(
    path: Path, rows: Sequence[Mapping[str, Any]], *, schema: Mapping[str, pl.DataType]
) -> None:
    """Write `rows`, in order, with exactly the columns of `schema`."""
    frame = pl.DataFrame(list(rows), schema=dict(schema), orient="row")
    atomic_write(path, lambda part: frame.write_parquet(local_name(part)))


def write_measures(
    path: Path, run_id: str, measures: Sequence[Measure], *, schema: Mapping[str, pl.DataType]
) -> None:
    """Write measures as rows of the run `run_id`."""
    write_table(path, [{"run_id": run_id, **vars(m)} for m in measures], schema=schema)
