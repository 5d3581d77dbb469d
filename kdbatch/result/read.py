"""Reads the Parquet files of finished runs; a damaged file costs a warning, never the report.

A file that cannot be read, or is not the one whose sha256 is in the run's done.json, is named in a
warning and left out, so that one bad disk block costs the results of one run. Runs that version 0.2
or older finished have no sha256 there.

`done` are the records of the runs that are done, where the caller has read them; otherwise they are
read here.
"""

import errno
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import polars as pl
from polars.exceptions import PanicException, PolarsError

from kdbatch.base.digests.sha256 import DigestError, read_verified
from kdbatch.base.errors import UnreadableError, unreadable
from kdbatch.base.folders.presence import is_present
from kdbatch.base.reading.local_name import local_name
from kdbatch.base.reading.regular_files import open_regular
from kdbatch.result.schema import CKA, CURVES, LATER_COLUMNS, PREDICTIONS, ROWS
from kdbatch.vocab.done import Done, load_done
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import RepairAdvice

_Item = TypeVar("_Item")

FILES_PER_BATCH = 100
READ_ERRORS = (PolarsError, PanicException, OSError, ValueError)
# The first and the last four bytes of every Parquet file: a cheap check before the file is parsed.
PARQUET_MAGIC = b"PAR1"

DoneRecords = Mapping[str, Done]
"""The record of each run that is done, by run id; not of those whose record is damaged."""


@dataclass(frozen=True, kw_only=True)
class ReadResult:
    """The rows that could be read, and one warning for each file that could not.

    `frame` has the requested columns even when it has no rows.
    """

    frame: pl.DataFrame
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file to read; `sha256` is empty where nothing vouches for it, or where it is not read as a
    whole.
    """

    path: Path
    sha256: str
    is_of_done_run: bool


def in_batches(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """Split files, or runs with one file each, into batches that are read and held together."""
    for first in range(0, len(items), FILES_PER_BATCH):
        yield items[first : first + FILES_PER_BATCH]


def read_rows(
    runs_dir: Path, run_ids: Sequence[str], *, done: DoneRecords | None = None
) -> ReadResult:
    """Read `rows.parquet` of the runs that are done; a done run without that file is a warning."""
    return _read_files(runs_dir, run_ids, "rows", schema=ROWS, required=True, done=done)


def read_curves(
    runs_dir: Path,
    run_ids: Sequence[str],
    *,
    names: Sequence[str] = (),
    finished_only: bool = True,
    done: DoneRecords | None = None,
) -> ReadResult:
    """Read the learning curves of the runs that are done; `names`, if given, selects curves.

    Without `finished_only` also those of runs under way, up to their last checkpoint.
    """
    keep = pl.col("name").is_in(list(names)) if names else None
    return _read_files(
        runs_dir,
        run_ids,
        "curves",
        schema=CURVES,
        keep=keep,
        finished_only=finished_only,
        done=done,
    )


def read_predictions(runs_dir: Path, run_ids: Sequence[str]) -> ReadResult:
    """Read label and `probability_K` of each test video, without the logits (half of the file)."""
    columns = _prediction_columns("run_id", "key", "label", "probability_K")
    return _read_files(runs_dir, run_ids, "predictions", schema=columns)


def read_label_ranks(
    runs_dir: Path, run_ids: Sequence[str], *, done: DoneRecords | None = None
) -> ReadResult:
    """Read key, group and label rank (`place`) of each test video: a hundredth of the file.

    The caller compares them with their own digest (result/digests.py).
    """
    columns = _prediction_columns("run_id", "key", "group", "place")
    return _read_files(
        runs_dir, run_ids, "predictions", schema=columns, reads_whole=False, done=done
    )


def read_cka(
    runs_dir: Path, run_ids: Sequence[str], *, done: DoneRecords | None = None
) -> ReadResult:
    """Read the layer pairs of the runs that are done and computed a CKA map."""
    return _read_files(runs_dir, run_ids, "cka", schema=CKA, done=done)


def _prediction_columns(*names: str) -> dict[str, pl.DataType]:
    return {name: PREDICTIONS[name] for name in names}


def _read_files(
    runs_dir: Path,
    run_ids: Sequence[str],
    kind: str,
    *,
    schema: Mapping[str, pl.DataType],
    keep: pl.Expr | None = None,
    required: bool = False,
    finished_only: bool = True,
    reads_whole: bool = True,
    done: DoneRecords | None = None,
) -> ReadResult:
    """Read one kind of file of many runs.

    Many files in one call take a tenth of the time of single reads. Where one of them cannot be
    read, the files of that batch are read one by one.
    """
    warnings: list[str] = []
    files: list[_File] = []
    for run_id in dict.fromkeys(run_ids):
        folder = RunFolder(runs_dir / run_id)
        if finished_only and done is not None and run_id not in done:
            continue
        try:
            file = _file_of(folder, kind, done, warnings, required=required)
        except UnreadableError as error:
            warnings.append(str(error))
            continue
        if file and (file.is_of_done_run or not finished_only):
            files.append(file if reads_whole else replace(file, sha256=""))
    frames = [pl.DataFrame(schema=dict(schema))]
    for batch in in_batches(files):
        for group in ([f for f in batch if f.sha256], [f for f in batch if not f.sha256]):
            try:
                frames.append(_read_parquet(group, schema, keep))
            except READ_ERRORS:
                for file in group:
                    try:
                        frames.append(_read_parquet([file], schema, keep))
                    except READ_ERRORS as error:
                        warnings.append(read_warning(file.path, error))
    return ReadResult(frame=pl.concat(frames), warnings=tuple(warnings))


def _file_of(
    folder: RunFolder,
    kind: str,
    done: DoneRecords | None,
    warnings: list[str],
    *,
    required: bool,
) -> _File | None:
    """The file of one kind of one run; None, with a warning where that is damage, if it has none.

    A damaged done.json vouches for nothing, so that none of its run's files is read.
    """
    path: Path = getattr(folder, kind)
    if done is None:
        is_done = folder.is_done()
        record = load_done(folder.done, warn=warnings.append)
    else:
        is_done, record = folder.id in done, done.get(folder.id)
    if is_done and record is None:
        return None
    recorded = record.files if record else None
    sha256 = recorded.get(path.name, "") if recorded is not None else ""
    if is_present(path):
        if recorded is None or sha256:
            return _File(path=path, sha256=sha256, is_of_done_run=is_done)
        warnings.append(damage(path, "is not among the files in done.json"))
    elif sha256 or (required and is_done):
        warnings.append(damage(path, "is missing, though the run is done"))
    return None


def read_warning(path: Path, error: BaseException) -> str:
    """A line about a file of a finished run that gave one of READ_ERRORS. An error of the file
    system says nothing about its content, so that the run is not to be made again.
    """
    if isinstance(error, DigestError):
        return damage(path, str(error))
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
        return f"{unreadable(path, error)}. Left out"
    return damage(path, f"cannot be read ({_first_line(error)})")


def damage(path: Path, reason: str) -> str:
    """A line about a damaged file of a finished run, and what to do about it."""
    return f"{path}: {reason}. Left out. {RepairAdvice(folder=path.parent)}"


def _read_parquet(
    files: Sequence[_File], schema: Mapping[str, pl.DataType], keep: pl.Expr | None
) -> pl.DataFrame:
    """Read the columns of `schema`, cast strictly, and of the rows those that match `keep`.

    The files have all a sha256, and are then read once, or all none.

    Raises:
        ValueError, PolarsError, PanicException, OSError: a file is damaged, has other columns, or
            holds rows of a run other than the one whose folder it is in.
    """
    if not files:
        return pl.DataFrame(schema=dict(schema))
    if files[0].sha256:
        contents = [read_verified(file.path, file.sha256) for file in files]
        lazy = pl.scan_parquet(contents)
        return _kept(lazy.select(_columns(lazy, schema, num_files=len(files))), keep).collect()
    for file in files:
        _check_magic(file.path)
    names = [local_name(file.path) for file in files]
    lazy = pl.scan_parquet(names, glob=False, include_file_paths="path")
    columns = _columns(lazy, schema, num_files=len(files))
    # Compared within the scan, where a file has one path, and not one for each row.
    folder = pl.col("path").str.extract("([^/]*)/[^/]*$")
    is_other = pl.col("run_id").ne_missing(folder).alias("is_other")
    frame = _kept(lazy.select(*columns, is_other), keep).collect()
    others = frame.filter("is_other")["run_id"]
    if len(others):  # of one file: a batch is read again, file by file
        raise ValueError(f"holds rows of {others[0]}, not of {files[0].path.parent.name}")
    return frame.drop("is_other")


def _kept(lazy: pl.LazyFrame, keep: pl.Expr | None) -> pl.LazyFrame:
    # A filter that keeps all rows would take as long as the rest.
    return lazy if keep is None else lazy.filter(keep)


def _columns(
    lazy: pl.LazyFrame, schema: Mapping[str, pl.DataType], *, num_files: int
) -> list[pl.Expr]:
    """The columns of `schema`, cast strictly; nulls where one file is of an older version.

    A batch with files of an older version fails as a whole; they are read one by one.
    """
    stored = set(lazy.collect_schema().names()) if num_files == 1 else set(schema)
    return [
        (pl.lit(None) if name in LATER_COLUMNS - stored else pl.col(name))
        .cast(kind, strict=True)
        .alias(name)
        for name, kind in schema.items()
    ]


def _check_magic(path: Path) -> None:
    with open_regular(path) as file:
        head = file.read(4)
        file.seek(-min(4, path.stat().st_size), 2)
        if head != PARQUET_MAGIC or file.read(4) != PARQUET_MAGIC:
            raise ValueError("not a whole Parquet file")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
