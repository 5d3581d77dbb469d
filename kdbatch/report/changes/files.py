"""Writes the tables of changes next to the other tables of a report."""

from pathlib import Path

from kdbatch.base.atomic_write import write_text
from kdbatch.report.changes.compare import HEAD, Changes
from kdbatch.report.tables.text_formats import text_csv, text_latex, text_markdown


def write_changes(folder: Path, name: str, changes: Changes | None) -> None:
    """Write the files `name`.md, .csv and .tex; without changes, delete those of a former call."""
    for kind, to_text in (("md", text_markdown), ("csv", text_csv), ("tex", text_latex)):
        path = folder / f"{name}.{kind}"
        if changes:
            write_text(path, to_text(HEAD, changes.rows))
        else:
            path.unlink(missing_ok=True)
