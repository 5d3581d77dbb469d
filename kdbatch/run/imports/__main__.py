"""Compares files from elsewhere with what their runs need, before the runs are submitted.

Reads JSON from its standard input, a list of [assignment, path of its file]. Its last line of
output is JSON: for each of them a list of lines about what is wrong with the file.
"""

import json
import sys
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.base.reading.documents import parse_json
from kdbatch.run.imports.stage import read_import
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.runs.folder import Assignment


def problem_of(raw: Any, path: str) -> tuple[str, ...]:
    """The lines about what is wrong with a file; none where it is right."""
    assignment = parse(Assignment, raw, where="assignment")
    recipe = assignment.run.recipe
    assert isinstance(recipe, Import), recipe
    try:
        read_import(recipe, Path(path), shards_dir=Path(assignment.shards_dir), where=path)
    except UserError as error:
        return error.lines
    return ()


if __name__ == "__main__":
    question = parse_json(sys.stdin.buffer.read(), where="standard input")
    found = [problem_of(raw, path) for raw, path in question]
    sys.stdout.write(f"{json.dumps(found)}\n")
