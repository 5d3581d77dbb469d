"""Reads the Parquet files of finished runs; a damaged file costs a warning, never the report.

A file that cannot be read is named in a warning and left out, so that one bad disk block costs the
results of one run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl
from polars.exceptions import PanicException, PolarsError

from kdbatch.result.schema import CKA, CURVES, LATER_COLUMNS, PREDICTIONS, ROWS
from kdbatch.vocab.runs import RunFolder

_Item = TypeVar("_Item")

FILES_PER_BATCH = 100
ALL_ROWS = pl.lit(value=True)
READ_ERRORS = (PolarsError, PanicException, OSError, ValueError)
# The first and the last four bytes of every Parquet file: a cheap check before the file is parsed.
PARQUET_MAGIC = b"PAR1"


@dataclass(frozen=True, kw_only=True)
class ReadResult:
    """The rows that could be read, and one warning for each file that could not.

    `frame` has the requested columns even when it has no rows.
    """

    frame: pl.DataFrame
    warnings: tuple[str, ...] = ()


def in_batches(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Split files, or runs with one file each, into batches that are read and held together."""
    for first in range(0, len(items), FILES_PER_BATCH):
        yield items[first : first + FILES_PER_BATCH]


def read_rows(runs_dir: Path, run_ids: Sequence[str]) -> ReadResult:
    """Read `rows.parquet` of the runs that are done; a done run without that file is a warning."""
    return _read_files(runs_dir, run_ids, "rows", schema=ROWS, required=True)


def read_curves(
    runs_dir: Path,
    run_ids: Sequence[str],
    *,
    names: Sequence[str] = (),
    finished_only: bool = True,
) -> ReadResult:
    """Read the learning curves of the runs that are done; `names`, if given, selects curves.

    Without `finished_only` also those of runs under way, up to their last checkpoint.
    """
    keep = pl.col("name").is_in(list(names)) if names else ALL_ROWS
    return _read_files(
        runs_dir, run_ids, "curves", schema=CURVES, keep=keep, finished_only=finished_only
    )


def read_predictions(runs_dir: Path, run_ids: Sequence[str]) -> ReadResult:
    """Read label and `probability_K` of each test video, without the logits (half of the file)."""
    columns = _prediction_columns("run_id", "key", "label", "probability_K")
    return _read_files(runs_dir, run_ids, "predictions", schema=columns)


def read_label_ranks(runs_dir: Path, run_ids: Sequence[str]) -> ReadResult:
    """Read key, group and label rank (`place`) of each test video: a hundredth of the file."""
    columns = _prediction_columns("run_id", "key", "group", "place")
    return _read_files(runs_dir, run_ids, "predictions", schema=columns)


def read_cka(runs_dir: Path, run_ids: Sequence[str]) -> ReadResult:
    """Read the layer pairs of the runs that are done and computed a CKA map."""
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
    finished_only: bool = True,
) -> ReadResult:
    """Read one kind of file of many runs.

    Many files in one call take a tenth of the time of single reads. Where one of them cannot be
    read, the files of that batch are read one by one.
    """
    paths, warnings = [], []
    for run_id in dict.fromkeys(run_ids):
        folder = RunFolder(runs_dir / run_id)
        path: Path = getattr(folder, kind)
        if finished_only and not folder.is_done():
            continue
        if path.exists():
            paths.append(path)
        elif required:
            warnings.append(f"{path}: is missing, though the run is done. Left out.")
    frames = [pl.DataFrame(schema=dict(schema))]
    for batch in in_batches(paths):
        try:
            frames.append(_read_parquet(batch, schema, keep))
        except READ_ERRORS:
            for path in batch:
                try:
                    frames.append(_read_parquet([path], schema, keep))
                except READ_ERRORS as error:
                    warnings.append(f"{path}: cannot be read ({_first_line(error)}). Left out.")
    return ReadResult(frame=pl.concat(frames), warnings=tuple(warnings))


def _read_parquet(
    paths: Sequence[Path], schema: Mapping[str, pl.DataType], keep: pl.Expr
) -> pl.DataFrame:
    """Read the columns of `schema`, cast strictly, and of the rows those that match `keep`.

    Raises:
        ValueError, PolarsError, PanicException, OSError: a file is damaged, has other columns, or
            holds rows of a run other than the one whose folder it is in.
    """
    for path in paths:
        _check_magic(path)
    lazy = pl.scan_parquet(list(paths), include_file_paths="path")
    # A batch with files of an older version fails as a whole; they are read one by one.
    stored = set(lazy.collect_schema().names()) if len(paths) == 1 else set(schema)
    columns = [
        (pl.lit(None) if name in LATER_COLUMNS - stored else pl.col(name))
        .cast(kind, strict=True)
        .alias(name)
        for name, kind in schema.items()
    ]
    frame = lazy.select(*columns, "path").filter(keep).collect()
    for run_id, path in frame.select("run_id", "path").unique(maintain_order=True).iter_rows():
        if run_id != Path(path).parent.name:
            raise ValueError(f"holds rows of {run_id}, not of {Path(path).parent.name}")
    return frame.drop("path")


def _check_magic(path: Path) -> None:
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(-min(4, path.stat().st_size), 2)
        if head != PARQUET_MAGIC or file.read(4) != PARQUET_MAGIC:
            raise ValueError("not a whole Parquet file")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
