"""Checks of what a file of a user holds, before it is read as types: texts, numbers, nesting."""

from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import UNPRINTABLE
from kdbatch.base.reading.shown_values import shown, shown_number

MAX_DEPTH = 40  # lists and mappings in each other; the study's deepest file has five
MAX_TEXT = 10_000  # characters of a text
MAX_KEY = 200
MAX_BITS = 1000  # of a whole number: a float has no more


def check_raw(raw: Any, *, where: str) -> None:
    """Checks every text and number of nested lists and mappings, whatever it is read as later.

    Raises:
        UserError: a text with control characters or halves of surrogate pairs, a text of more than
            MAX_TEXT characters, a whole number of hundreds of digits, or too much nesting.
    """
    waiting: list[tuple[Any, tuple[str, ...]]] = [(raw, ())]
    seen: set[int] = set()  # lists that several places share, by YAML's aliases
    while waiting:
        value, path = waiting.pop()
        if len(path) > MAX_DEPTH:
            raise UserError(
                f"{_place(where, path[:3])}: lists and mappings are nested more than {MAX_DEPTH} "
                "deep. Write them as the reference of fields shows."
            )
        if isinstance(value, dict | list):
            if id(value) in seen:
                continue
            seen.add(id(value))
        if isinstance(value, dict):
            for key in value:
                _check_key(key, _place(where, path))
            waiting += [(inner, (*path, str(key))) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(inner, (*path, f"[{i}]")) for i, inner in enumerate(value)]
        elif isinstance(value, str):
            _check_text(value, path, where)
        elif isinstance(value, int) and value.bit_length() > MAX_BITS:
            found = shown_number(value)
            raise UserError(f"{_place(where, path)}: found {found}. Write a smaller one.")


def _check_key(key: Any, where: str) -> None:
    if isinstance(key, int) and key.bit_length() > MAX_BITS:
        raise UserError(f"{where}: found {shown_number(key)} for a name. Write a word.")
    if not isinstance(key, str):
        return
    if len(key) > MAX_KEY or "\n" in key or "\t" in key or UNPRINTABLE.search(key):
        raise UserError(
            f"{where}: found the name {shown(key)}. Write one line of at most {MAX_KEY} "
            "characters, without control characters."
        )


def _check_text(text: str, path: tuple[str, ...], where: str) -> None:
    if len(text) > MAX_TEXT:
        raise UserError(
            f"{_place(where, path)}: found {len(text):,} characters. Write at most {MAX_TEXT:,}."
        )
    if found := UNPRINTABLE.search(text):
        raise UserError(
            f"{_place(where, path)}: found {shown(text)}, with the control character "
            f"U+{ord(found[0]):04X}. Leave it out."
        )


def _place(where: str, path: tuple[str, ...]) -> str:
    """`x.yaml: teachers.T1.title`, as the errors of parse name it."""
    joined = "".join(step if step.startswith("[") else f".{step}" for step in path)
    return f"{where}: {joined.removeprefix('.')}" if path else where
