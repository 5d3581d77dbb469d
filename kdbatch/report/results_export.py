"""Exports every measured row, with its run's facts: `results.parquet` (docs/RESULTS_SCHEMA.md)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kdbatch.base.atomic_write import atomic_write
from kdbatch.base.reading.local_name import local_name
from kdbatch.report.data.study import Study
from kdbatch.result.read import in_batches, read_curves
from kdbatch.result.schema import ROWS

RESULT_COLUMNS: dict[str, pl.DataType] = {
    **ROWS,
    "table": pl.String(),
    "kind": pl.String(),
    "title": pl.String(),
    "seed": pl.Int64(),
    "parents": pl.List(pl.String()),
    "experiment": pl.String(),
    "profile": pl.String(),
    "role": pl.String(),
    "case": pl.String(),
    "fold": pl.Int64(),
}


def write_all_rows(
    study: Study, path: Path, *, on_curves: Callable[[pl.DataFrame], None] = lambda curves: None
) -> tuple[str, ...]:
    """Write the rows and curves of all finished runs, once for each role that a run has.

    The joined table is many times larger than the data of the page and grows with the study, so it
    is written batch by batch. `on_curves` gets the curves of each batch, so that no file is read
    twice.

    Returns a warning for each file that could not be read.
    """
    about_run = _run_columns(study)
    warnings: list[str] = []

    def write(part: Path) -> None:
        schema = _with_runs(pl.DataFrame(schema=ROWS), "", about_run).schema
        # Without the schema of Arrow, in which texts are indexes: readers shall see texts.
        with pq.ParquetWriter(
            local_name(part), schema, compression="zstd", store_schema=False
        ) as file:
            for table, measured in _result_batches(study, warnings):
                if table == "curves":
                    on_curves(measured)
                file.write_table(_with_runs(measured, table, about_run))

    atomic_write(path, write)
    return tuple(warnings)


def _run_columns(study: Study) -> pl.DataFrame:
    """Return the columns that describe a run, with one row for each role that it has."""
    runs = []
    for run in study.runs.values():
        runs.append((run.run_id, run.kind, run.title, run.seed, list(run.parents)))
    roles = []
    for record in study.records:
        for cell in record.cells:
            case = ";".join(f"{axis}={value}" for axis, value in cell.case.items())
            place = record.experiment, record.profile, cell.role, case, cell.fold
            roles.append((cell.run_id, *place))
    run_frame = _frame(runs, "run_id", "kind", "title", "seed", "parents")
    role_frame = _frame(roles, "run_id", "experiment", "profile", "role", "case", "fold")
    return run_frame.join(role_frame, on="run_id", how="left", maintain_order="left_right")


def _frame(rows: Sequence[tuple], *names: str) -> pl.DataFrame:
    # By columns: from rows, polars makes a series of its own for each list of parents.
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame(
        [pl.Series(n, list(c), RESULT_COLUMNS[n]) for n, c in zip(names, columns, strict=True)]
    )


def _result_batches(study: Study, warnings: list[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield all rows, then the curves of a batch of runs at a time, with the table's name."""
    yield "rows", study.rows
    for batch in in_batches(sorted(study.runs)):
        curves = read_curves(study.runs_dir, batch, done=study.done)
        warnings += curves.warnings
        yield "curves", curves.frame


def _with_runs(measured: pl.DataFrame, table: str, about_run: pl.DataFrame) -> pa.Table:
    """Join measured values, those of a run one after another, with what describes their runs.

    Texts are indexes into lists of texts, as Parquet stores them: a fifth less work.
    """
    runs = measured.select(pl.col("run_id").rle().struct.field("value").alias("run_id"))
    about = runs.with_row_index("part").join(
        about_run, on="run_id", how="left", maintain_order="left_right"
    )
    part = pl.col("run_id").rle_id().alias("part")
    numbered = _texts_as_indexes(measured.select(part, pl.exclude("run_id")))
    places = about.select("part").with_row_index("place")
    of_rows = _to_arrow(numbered.join(places, on="part", how="left", maintain_order="left_right"))
    described = _to_arrow(_texts_as_indexes(about.with_columns(table=pl.lit(table))))
    of_runs = described.take(of_rows["place"])
    return pa.table(
        {
            name: (of_runs if name in of_runs.column_names else of_rows)[name]
            for name in RESULT_COLUMNS
        }
    )


def _texts_as_indexes(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.with_columns(pl.col(pl.String).cast(pl.Categorical))


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    """Convert with types that every reader of Parquet knows."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
