"""Reads the Parquet files of finished runs. A file that cannot be read is named and left out: one bad disk block costs one run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
from polars.exceptions import PanicException, PolarsError

from kdbatch.result.schema import CKA, CURVES, PREDICTIONS, ROWS
from kdbatch.vocab.runs import RunFolder

PARQUET_MAGIC = b"PAR1"  # first and last four bytes of every Parquet file: a cheap look before the reader gets it


@dataclass(frozen=True, kw_only=True)
class Scan:
    """What could be read, with the columns of its schema, and one line for each file that could not."""

    frame: pl.DataFrame
    warnings: tuple[str, ...] = ()


def scan_rows(runs_dir: Path, run_ids: Sequence[str]) -> Scan:
    """The rows of those runs that are done. A done run without rows is a warning."""
    return _scan(runs_dir, run_ids, "rows", schema=ROWS, required=True)


def read_curves(runs_dir: Path, run_ids: Sequence[str]) -> Scan:
    """The learning curves of those runs that are done and have some."""
    return _scan(runs_dir, run_ids, "curves", schema=CURVES)


def read_predictions(runs_dir: Path, run_ids: Sequence[str]) -> Scan:
    """Label and `probability_K` per test video; the logits, half of the file, stay on disk."""
    schema = {name: kind for name, kind in PREDICTIONS.items() if name != "logit_K"}
    return _scan(runs_dir, run_ids, "predictions", schema=schema)


def read_cka(runs_dir: Path, run_ids: Sequence[str]) -> Scan:
    """The layer pairs of those runs that are done and drew a map."""
    return _scan(runs_dir, run_ids, "cka", schema=CKA)


def _scan(runs_dir: Path, run_ids: Sequence[str], file: str, *, schema: Mapping[str, pl.DataType], required: bool = False) -> Scan:
    frames, warnings = [pl.DataFrame(schema=dict(schema))], []
    for run_id in dict.fromkeys(run_ids):
        folder = RunFolder(runs_dir / run_id)
        path: Path = getattr(folder, file)
        if not folder.is_done():
            continue
        if not path.exists():
            if required:
                warnings.append(f"{path}: is missing, though the run is done. Left out.")
            continue
        try:
            frames.append(_read(path, run_id, schema))
        except (PolarsError, PanicException, OSError, ValueError) as error:
            warnings.append(f"{path}: cannot be read ({_first_line(error)}). Left out.")
    return Scan(frame=pl.concat(frames), warnings=tuple(warnings))


def _read(path: Path, run_id: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """One file, only the columns of `schema`, cast strictly."""
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(-min(4, path.stat().st_size), 2)
        if head != PARQUET_MAGIC or file.read(4) != PARQUET_MAGIC:
            raise ValueError("not a whole Parquet file")
    frame = pl.scan_parquet(path).select([pl.col(name).cast(kind, strict=True) for name, kind in schema.items()]).collect()
    strangers = frame.filter(pl.col("run_id").ne_missing(run_id))
    if strangers.height:
        raise ValueError(f"holds rows of {strangers['run_id'][0]}, not of {run_id}")
    return frame


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
