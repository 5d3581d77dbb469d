"""The fields of a recipe as names and texts, in which recipes can be compared."""

import dataclasses
from collections.abc import Iterator
from typing import Any

from kdbatch.vocab.runs import Run


def recipe_fields(run: Run) -> dict[str, str]:
    """Return every field of the recipe as text, by its name: `schedule.epochs` is `100`."""
    return dict(_flatten(run.recipe, ""))


def _flatten(value: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            yield from _flatten(inner, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", str(inner)
