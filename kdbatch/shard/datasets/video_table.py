"""Reads tables of videos: CSV, TSV or Parquet, a line for each video."""

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.reading.local_name import local_name
from kdbatch.base.reading.regular_files import decoded, read_regular
from kdbatch.shard.sources import path_name, printable
from kdbatch.vocab.sources.dataset_source import NAME, TableColumns

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


@dataclass(frozen=True, kw_only=True)
class TableRow:
    """A line of a table. A text is None where the table has no such column."""

    where: str
    path: Path
    label: str | None
    split: str | None
    group: str | None


def read_table(file: Path, columns: TableColumns, *, root: Path) -> list[TableRow]:
    """The lines of a table; paths are relative to `root`.

    Raises:
        UserError: the file cannot be read, lacks a column, or has a line with a wrong path, without
            a text that other lines have, or with the path of an earlier one.
    """
    rows = list(_rows(file))
    if not rows:
        raise UserError(f"{file}: has no line below the names of its columns. Write one per video.")
    found = rows[0][1]
    used = {name: column for name, column in vars(columns).items() if column in found}
    for name, column in vars(columns).items():
        is_needed = name == "path" or column != getattr(TableColumns, name)
        if name not in used and is_needed:
            if separator := _other_separator(found):
                raise UserError(
                    f"{file}: its cells are separated by {separator}. Write a comma in a .csv file "
                    "and a tab in a .tsv file."
                )
            raise UserError(
                f"{file}: has no column {column!r}.{did_you_mean(column, found)} Found: "
                f"{printable(', '.join(map(str, found)))[:200]}. Name the one that has it: "
                f'columns = {{{name} = "COLUMN"}}'
            )
    return _checked([_row(where, cells, used, root) for where, cells in rows])


def _other_separator(columns: Iterable[str]) -> str:
    """The separator in the name of the only column; empty without one. Spreadsheets write a
    semicolon where the comma is that of numbers.
    """
    (name, *others) = columns
    separators = {";": "a semicolon", "\t": "a tab", ",": "a comma"}
    return "" if others else next((t for c, t in separators.items() if c in name), "")


def _rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The place of each line and its cells by column."""
    kind = file.suffix.lower()
    if kind not in (*_DELIMITERS, ".parquet"):
        raise UserError(f"{file}: is no table that is read. Write it as .csv, .tsv or .parquet.")
    try:
        if kind == ".parquet":
            yield from _parquet_rows(file)
        else:
            yield from _text_rows(file, _DELIMITERS[kind])
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise UserError(f"{file}: cannot be read ({reason}).") from error


def _text_rows(file: Path, delimiter: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    raw = decoded(read_regular(file), where=str(file), errors="surrogateescape")
    lines = csv.reader(io.StringIO(raw, newline=""), delimiter=delimiter, strict=True)
    try:
        names = next(lines, [])
        if len(set(names)) != len(names):
            raise UserError(f"{file}: two columns have one name. Give each its own.")
        for cells in lines:
            where = f"{file}: line {lines.line_num}"
            if cells and len(cells) != len(names):
                raise UserError(
                    f"{where}: has {len(cells)} cells, and the first line has {len(names)}. "
                    "Put quotation marks around a text that has the separator."
                )
            if cells:
                yield where, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        where = f"{file}: line {lines.line_num}"
        raise UserError(f"{where}: is no line of a table ({error}). Write it again.") from error


def _parquet_rows(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        rows = pq.read_table(local_name(file)).to_pylist()
    except (pa.ArrowException, ValueError) as error:
        raise UserError(f"{file}: is no Parquet file ({str(error).splitlines()[0]}).") from error
    for number, row in enumerate(rows, 1):
        yield f"{file}: row {number}", row


def _row(where: str, cells: Mapping[str, Any], used: Mapping[str, str], root: Path) -> TableRow:
    texts = {name: _text(cells[column], f"{where}: {column}") for name, column in used.items()}
    path = PurePath(texts["path"])
    if path.is_absolute() or ".." in path.parts or "\0" in texts["path"]:
        raise UserError(
            f"{where}: {printable(texts['path'])[:80]!r} is no path below {root}/. Write paths "
            "relative to root, without `..`"
        )
    split = texts.get("split")
    if split is not None and not NAME.fullmatch(split):
        raise UserError(
            f"{where}: {printable(split)[:40]!r} is no name of a split. Write lower-case letters, "
            "digits and underscores, a letter first."
        )
    return TableRow(
        where=where,
        path=root / path_name(texts["path"]),
        label=texts.get("label"),
        split=split,
        group=texts.get("group"),
    )


def _text(cell: Any, where: str) -> str:
    """A cell as text; a whole number is its digits."""
    is_number = isinstance(cell, int) and not isinstance(cell, bool)
    text = str(cell) if is_number else cell
    if not isinstance(text, str):
        found = "nothing" if cell is None else f"{type(cell).__name__} {str(cell)[:40]}"
        raise UserError(f"{where} is {found}. Write a text or a whole number.")
    if not text.strip():
        raise UserError(
            f"{where} is empty. Write it, or leave the line out; where no video has "
            "one, leave the column out."
        )
    return text.strip()


def _checked(rows: Sequence[TableRow]) -> list[TableRow]:
    """The lines, if each path is there once."""
    first: dict[Path, TableRow] = {}
    for row in rows:
        other = first.setdefault(row.path, row)
        if other is not row:
            raise UserError(
                f"{row.where}: names {printable(str(row.path.name))} again; the first is "
                f"{other.where.rpartition(': ')[2]}. Leave one of them out."
            )
    return list(rows)
