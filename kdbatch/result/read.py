"""Reads the Parquet files of finished runs. A file that cannot be read is named and left out: one
bad disk block costs one run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl
from polars.exceptions import PanicException, PolarsError

from kdbatch.result.schema import CKA, CURVES, PREDICTIONS, ROWS
from kdbatch.vocab.runs import RunFolder

T = TypeVar("T")

FILES_PER_BATCH = 100
ALL_ROWS = pl.lit(value=True)
READ_ERRORS = (PolarsError, PanicException, OSError, ValueError)
# first and last four bytes of every Parquet file: a cheap look before the reader gets it
PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True, kw_only=True)
class ReadResult:
    """What could be read, with the columns of its schema, and one line for each file that could
    not.
    """

    frame: pl.DataFrame
    warnings: tuple[str, ...] = ()


def in_batches(files: Sequence[T]) -> Iterator[Sequence[T]]:
    """As many files, or runs with one each, as are read and held together."""
    for first in range(0, len(files), FILES_PER_BATCH):
        yield files[first : first + FILES_PER_BATCH]


def read_rows(runs_dir: Path, run_ids: Sequence[str]) -> ReadResult:
    """The rows of those runs that are done. A done run without rows is a warning."""
    return _read_files(runs_dir, run_ids, "rows", schema=ROWS, required=True)


def read_curves(runs_dir: Path, run_ids: Sequence[str], *, names: Sequence[str] = ()) -> ReadResult:
    """The learning curves of those runs that are done and have some; with `names` only the curves
    called so.
    """
    return _read_files(
        runs_dir,
        run_ids,
        "curves",
        schema=CURVES,
        keep=pl.col("name").is_in(list(names)) if names else ALL_ROWS,
    )


def read_predictions(runs_dir: Path, run_ids: Sequence[str]) -> ReadResult:
    """Label and `probability_K` per test video; the logits, half of the file, stay on disk."""
    return _read_files(
        runs_dir,
        run_ids,
        "predictions",
        schema=_prediction_columns("run_id", "key", "label", "probability_K"),
    )


def read_label_ranks(runs_dir: Path, run_ids: Sequence[str]) -> ReadResult:
    """Of every test video how many classes the run put before its label: a hundredth of the file."""
    return _read_files(
        runs_dir, run_ids, "predictions", schema=_prediction_columns("run_id", "key", "place")
    )


def read_cka(runs_dir: Path, run_ids: Sequence[str]) -> ReadResult:
    """The layer pairs of those runs that are done and drew a map."""
    return _read_files(runs_dir, run_ids, "cka", schema=CKA)


def _prediction_columns(*names: str) -> dict[str, pl.DataType]:
    return {name: PREDICTIONS[name] for name in names}


def _read_files(
    runs_dir: Path,
    run_ids: Sequence[str],
    kind: str,
    *,
    schema: Mapping[str, pl.DataType],
    keep: pl.Expr = ALL_ROWS,
    required: bool = False,
) -> ReadResult:
    """Many files in one read, which takes a tenth of the time; where one of them spoils it, each by
    itself.
    """
    paths, warnings = [], []
    for run_id in dict.fromkeys(run_ids):
        folder = RunFolder(runs_dir / run_id)
        path: Path = getattr(folder, kind)
        if not folder.is_done():
            continue
        if path.exists():
            paths.append(path)
        elif required:
            warnings.append(f"{path}: is missing, though the run is done. Left out.")
    frames = [pl.DataFrame(schema=dict(schema))]
    for some in in_batches(paths):
        try:
            frames.append(_read_parquet(some, schema, keep))
        except READ_ERRORS:
            for path in some:
                try:
                    frames.append(_read_parquet([path], schema, keep))
                except READ_ERRORS as error:
                    warnings.append(f"{path}: cannot be read ({_first_line(error)}). Left out.")
    return ReadResult(frame=pl.concat(frames), warnings=tuple(warnings))


def _read_parquet(
    paths: Sequence[Path], schema: Mapping[str, pl.DataType], keep: pl.Expr
) -> pl.DataFrame:
    """Only the columns of `schema`, cast strictly, and the rows to keep. Every row must be of the
    run whose folder it lies in.

    Raises:
        ValueError, PolarsError, PanicException, OSError: some file is not what it should be.
    """
    for path in paths:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(-min(4, path.stat().st_size), 2)
            if head != PARQUET_MAGIC or file.read(4) != PARQUET_MAGIC:
                raise ValueError("not a whole Parquet file")
    lazy = pl.scan_parquet(list(paths), include_file_paths="path")
    columns = [pl.col(name).cast(kind, strict=True) for name, kind in schema.items()]
    frame = lazy.select(*columns, "path").filter(keep).collect()
    for run_id, path in frame.select("run_id", "path").unique(maintain_order=True).iter_rows():
        if run_id != Path(path).parent.name:
            raise ValueError(f"holds rows of {run_id}, not of {Path(path).parent.name}")
    return frame.drop("path")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
