"""The types of a dataclass's fields, and their marks; they are looked up once per class."""

import dataclasses
import functools
import typing
from typing import Annotated, Any

from kdbatch.base.reading.field_facts import ClassByTag, Limits, field_hints, limits_of

SCALARS = frozenset({str, int, bool})

_NUMBER_AS_TEXT = "a number is read as its text"
TextOrNumber = Annotated[str, _NUMBER_AS_TEXT]
"""A text that may be written as a number, such as a subset's size or a value of an axis."""

SHARED = "equal values are parsed once"
"""A mark in the type of a field whose values, from JSON, are equal in most files of their kind:
`Annotated[Recipe, SHARED]`. They become one object, so its type must be frozen.
"""


@functools.cache
def fields_of(cls: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The types of a dataclass's fields by name, and the names of those without a default.

    Cached: thousands of files are parsed into few classes.
    """
    hints = field_hints(cls)
    fields = [f for f in dataclasses.fields(cls) if f.init]
    required = (
        f.name
        for f in fields
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    return {f.name: hints[f.name] for f in fields}, tuple(required)


@functools.cache
def plain_fields_of(cls: Any) -> dict[str, tuple[type, Limits | None]]:
    """The types of the fields that are texts, truth values and numbers, with the limits of numbers:
    a value of that type within them is the field's value as it is.
    """
    plain: dict[str, tuple[type, Limits | None]] = {}
    for name, hint in fields_of(cls)[0].items():
        kind, *facts = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
        limits = limits_of(hint)
        if hint in SCALARS or (kind in (int, float) and limits and len(facts) == 1):
            plain[name] = (kind, limits)
    return plain


@functools.cache
def parts_of(hint: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """A type's origin and arguments, and whether it is a dataclass."""
    return typing.get_origin(hint), typing.get_args(hint), dataclasses.is_dataclass(hint)


@functools.cache
def marks_of(hint: Any) -> tuple[bool, bool, Limits | None, ClassByTag | None]:
    """Whether a type in Annotated is SHARED, whether it takes numbers as text, its limits, and the
    table that its class is in.
    """
    args = typing.get_args(hint)
    by_tag = next((arg for arg in args if isinstance(arg, ClassByTag)), None)
    return SHARED in args, _NUMBER_AS_TEXT in args, limits_of(hint), by_tag


@functools.cache
def tag_of(choices: tuple[Any, ...]) -> str:
    """The field that distinguishes dataclasses: a Literal of one value, different in each.

    Empty where there is no such field.
    """
    if not all(dataclasses.is_dataclass(choice) for choice in choices):
        return ""
    hints = [fields_of(choice)[0] for choice in choices]
    for name in hints[0]:
        values = {
            typing.get_args(hint[name])
            for hint in hints
            if typing.get_origin(hint.get(name)) is typing.Literal
        }
        if len(values) == len(choices) and all(len(value) == 1 for value in values):
            return name
    return ""
