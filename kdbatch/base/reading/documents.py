"""Reads JSON and TOML, the only place that does: whatever is wrong with a text is one line.

A byte order mark at the start is skipped. YAML is read in plan/yaml_loader.py, by the same rules.
"""

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.reading.raw_values import check_raw
from kdbatch.base.reading.regular_files import decoded, read_text
from kdbatch.base.reading.shown_values import shortened, shown
from kdbatch.base.reading.toml_errors import explain_toml_error

WRITE_AGAIN = "Delete it and repeat the command that wrote it."

_HALF_OF_PAIR = re.compile(r"\\ud[89a-f]", re.IGNORECASE)


def parse_json(
    text: str | bytes,
    *,
    where: str,
    advice: object = WRITE_AGAIN,
    make_object: Callable[[list[tuple[str, Any]]], dict[str, Any]] | None = None,
) -> Any:
    """The value of a JSON text. `advice` says what to do about a text that is damaged.

    `make_object` makes an object of its names and values, and raises ValueError; by default, the
    last of several values of a name counts.

    Raises:
        UserError: it is not UTF-8 or not JSON, is nested too deep to be read, or has a text that
            UTF-8 cannot hold.
    """
    try:
        if isinstance(text, bytes):
            text = decoded(text, where=where, advice=advice)
        value = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=make_object)
        if _HALF_OF_PAIR.search(text):  # of which json.loads joins pairs, and keeps single halves
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = shown(error.object[error.start])
        raise UserError(f"{where}: has {half}, half of a character. {advice}") from error
    except RecursionError as error:
        raise UserError(f"{where}: its lists are nested too deep to be read. {advice}") from error
    except ValueError as error:
        raise UserError(f"{where}: is not JSON ({_problem(error)}). {advice}") from error
    return value


def parse_json_object(
    text: str | bytes, *, where: str, advice: object = WRITE_AGAIN
) -> dict[str, Any]:
    """The same, for a text that must hold an object: names with values, in braces.

    Raises:
        UserError: as above, or it holds a list, a number, a text or null, or a name has two values.
    """
    value = parse_json(text, where=where, advice=advice, make_object=_with_unique_names)
    if not isinstance(value, dict):
        found = "null" if value is None else shown(value)
        raise UserError(
            f"{where}: expected an object, names with values in braces, found {found}. {advice}"
        )
    return value


def _with_unique_names(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if found.setdefault(name, value) is not value:
            raise ValueError(f"it has {shown(name)} twice")
    return found


def load_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        FileNotFoundError: there is none.
        UserError: it cannot be read, is not TOML, or has a value that no field can have.
    """
    text = ""
    try:
        text = read_text(path)
        raw = tomllib.loads(text)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except tomllib.TOMLDecodeError as error:
        line, problem = explain_toml_error(error, text)
        raise UserError(f"{path}:{line}: {shortened(problem)}") from error
    except RecursionError as error:
        raise UserError(f"{path}: lists or tables are nested too deep. Close each [.") from error
    except (ValueError, ArithmeticError) as error:  # a number of thousands of digits, no such date
        raise UserError(f"{path}: is not TOML ({_problem(error)}).") from error
    check_raw(raw, where=str(path))
    return raw


def _problem(error: Exception) -> str:
    """The reason of a parser in one line; Python's advice to programmers is left out."""
    return shortened(" ".join(str(error).partition("; use ")[0].split()))
