"""The fields of a recipe as names and texts, in which recipes can be compared."""

import dataclasses
from collections.abc import Iterator
from functools import cache
from typing import Any

from kdbatch.vocab.runs.run import Run


def recipe_fields(run: Run) -> dict[str, str]:
    """Return every field of the recipe as text, by its name: `schedule.epochs` is `100`."""
    return dict(_flatten(run.recipe, ""))


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for name in _field_names(type(value)):
        inner = getattr(value, name)
        if _field_names(type(inner)):
            yield from _flatten(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(inner)


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    """Empty for a type that is no dataclass."""
    is_dataclass = dataclasses.is_dataclass(kind)
    return tuple(field.name for field in dataclasses.fields(kind)) if is_dataclass else ()
