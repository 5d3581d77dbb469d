"""Converts parsed YAML, TOML and JSON values to frozen dataclasses; errors name the field.

After the conversion no code handles the raw values.
"""

import marshal
import re
import types
import typing
from collections.abc import Collection, Mapping
from typing import Annotated, Any, TypeVar

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.reading.field_facts import description_of
from kdbatch.base.reading.field_types import (
    SCALARS,
    fields_of,
    marks_of,
    parts_of,
    plain_fields_of,
    tag_of,
)
from kdbatch.base.reading.places import below, placed
from kdbatch.base.reading.remedies import TYPE_NAMES, remedy_of_table
from kdbatch.base.reading.scalars import scalar
from kdbatch.base.reading.shown_values import shown

T = TypeVar("T")


def parse(cls: type[T], raw: Any, *, where: str) -> T:
    """Build the dataclass `cls` from a mapping.

    Fields may be dataclasses, tuples, dicts, unions and Literals, nested to any depth.

    Raises:
        UserError: an unknown or missing field, or a value of the wrong type; the message starts
            with `where`, a file or a place in one, and the field's path.
    """
    return _value(cls, raw, where)


def _dataclass(cls: Any, raw: Any, where: str) -> Any:
    hints, required = fields_of(cls)
    if not isinstance(raw, Mapping):
        is_list = isinstance(raw, list) and all(isinstance(item, Mapping) for item in raw)
        found = "a list of them. Write them once, without brackets or dashes" if is_list else ""
        raise UserError(
            f"{where}: expected fields with values, found {found or shown(raw)}. "
            f"{_fields_hint(hints)}"
        )
    for name in raw:
        if name not in hints:
            suggestion = did_you_mean(str(name), hints) or _owner(str(name), hints)
            raise UserError(
                f"{where} has no field {shown(name)}.{suggestion} {_fields_hint(hints)}"
            )
    for name in required:
        if name not in raw:
            meaning = _first_sentence(description_of(cls, name))
            hint = f"{_fields_hint(hints)} {name}:{meaning}" if meaning else _fields_hint(hints)
            raise UserError(f"{where} needs the field {name!r}. {hint}")
    plain, values = plain_fields_of(cls), dict[str, Any]()
    for name, value in raw.items():
        kind, limits = plain.get(name, (None, None))
        if type(value) is kind and (limits is None or limits.holds(value)):
            values[name] = value
        else:
            values[name] = _field(cls, name, hints[name], value, below(where, name))
    try:
        return cls(**values)
    except UserError as error:
        raise UserError(placed(str(error), hints, where)) from error


def _owner(name: str, hints: Mapping[str, Any]) -> str:
    """` It is a field of 'site'.` for a field that stands one level too high; otherwise empty."""
    of = (
        owner for owner, hint in hints.items() if parts_of(hint)[2] and name in fields_of(hint)[0]
    )
    owner = next(of, "")
    return f" It is a field of {owner!r}." if owner else ""


def _field(cls: type, name: str, hint: Any, raw: Any, where: str) -> Any:
    """The value of one field; an error about the field itself says what the field is."""
    try:
        return _value(hint, raw, where)
    except UserError as error:
        meaning = _first_sentence(description_of(cls, name))
        if not meaning or not str(error).startswith(f"{where}: "):
            raise
        raise UserError(f"{error} {name}:{meaning}") from error


def _first_sentence(description: str) -> str:
    """The first sentence after a space; empty without a description."""
    return " " + re.split("(?<=[.]) ", description)[0] if description else ""


def _fields_hint(names: Collection[str]) -> str:
    return f"Fields: {', '.join(names) or 'none'}."


def _value(hint: Any, raw: Any, where: str) -> Any:
    if type(raw) is hint and hint in SCALARS:
        return raw
    origin, args, is_dataclass = parts_of(hint)
    if hint is Any:
        return raw
    if is_dataclass:
        return _dataclass(hint, raw, where)
    if origin is Annotated:
        is_shared, is_text, limits, by_tag = marks_of(hint)
        if is_shared:
            return _shared(args[0], raw, where)
        if limits:  # before a conversion: no float has 400 digits
            limits.check(raw, where=where)
        tag = raw.get(by_tag.tag) if by_tag and isinstance(raw, Mapping) else None
        if by_tag and isinstance(tag, str):
            return _dataclass(by_tag.class_of(tag, below(where, by_tag.tag)), raw, where)
        is_number = is_text and type(raw) in (int, float)
        return str(raw) if is_number else _value(args[0], raw, where)
    if origin is typing.Literal:
        return _literal(args, raw, where)
    if origin in (typing.Union, types.UnionType):
        return _union(args, raw, where)
    if origin is tuple:
        return _tuple(args, raw, where)
    if origin in (dict, Mapping) or hint is dict:
        return _dict(args, raw, where)
    return scalar(hint, raw, where)


def _shared(hint: Any, raw: Any, where: str) -> Any:
    """The value, parsed at its first appearance: thousands of runs differ in seed and parents."""
    try:
        key = (hint, key_of(raw))
    except ValueError:
        return _value(hint, raw, where)
    if key not in _SHARED_VALUES:
        value = _value(hint, raw, where)
        if len(_SHARED_VALUES) >= _MAX_SHARED:
            _SHARED_VALUES.clear()
        _SHARED_VALUES[key] = value
    return _SHARED_VALUES[key]


def key_of(raw: Any) -> bytes:
    """Bytes that are equal for equal values from JSON, for a cache: a fifth of the time of JSON.

    Raises:
        ValueError: it is nested deeper than a file can be, or not from JSON.
    """
    return marshal.dumps(raw, 2)  # later versions tell equal texts apart by their identity


_SHARED_VALUES: dict[tuple[Any, bytes], Any] = {}
_MAX_SHARED = 4096


def _literal(args: tuple[Any, ...], raw: Any, where: str) -> Any:
    if raw in args and type(raw) in {type(a) for a in args}:
        return raw
    choices = [str(a) for a in args]
    if isinstance(raw, str) and raw in choices:
        raise UserError(
            f"{where}: expected {TYPE_NAMES[type(args[0])]}, found the text {shown(raw)}. "
            f"Write it without quotes: {raw}."
        )
    suggestion = did_you_mean(str(raw), choices)
    raise UserError(f"{where}: found {shown(raw)}.{suggestion} One of: {', '.join(choices)}.")


def _union(args: tuple[Any, ...], raw: Any, where: str) -> Any:
    if raw is None and type(None) in args:
        return None
    choices = tuple(a for a in args if a is not type(None))
    if len(choices) == 1:
        return _value(choices[0], raw, where)
    if isinstance(raw, Mapping) and (tag := tag_of(choices)):
        return _tagged(choices, raw, where, tag=tag)
    for choice in choices:
        try:
            return _value(choice, raw, where)
        except UserError:
            continue
    kinds = [typing.get_args(c)[0] if typing.get_origin(c) is Annotated else c for c in choices]
    names = " or ".join(dict.fromkeys(str(TYPE_NAMES.get(c, c.__name__)) for c in kinds))
    raise UserError(f"{where}: expected {names}, found {shown(raw)}.")


def _tagged(choices: tuple[Any, ...], raw: Mapping[Any, Any], where: str, *, tag: str) -> Any:
    """Parse the one choice that `raw` names.

    So an error inside is reported with its own field, and not as a failure of every choice.
    """
    by_value = {typing.get_args(fields_of(choice)[0][tag])[0]: choice for choice in choices}
    if tag not in raw:
        known = ", ".join(map(str, by_value))
        raise UserError(
            f"{where}: needs the field {tag!r}, which selects the type. One of: {known}."
        )
    value = _value(typing.Literal[*by_value], raw[tag], f"{where}.{tag}")
    return _value(by_value[value], raw, where)


def _tuple(args: tuple[Any, ...], raw: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(raw, (list, tuple)):
        is_single = isinstance(raw, str | int | float)
        parts = [f'"{part.strip()}"' for part in raw.split(",")] if isinstance(raw, str) else [raw]
        brackets = f"[{', '.join(map(str, parts))}]"
        is_short = len(brackets) < 100 and brackets.isprintable()
        hint = f" Write it in brackets: {brackets}." if is_single and is_short else ""
        if isinstance(raw, Mapping):
            hint = " Write each item on its own line, after a dash, or write the items in brackets."
        raise UserError(f"{where}: expected a list, found {shown(raw)}.{hint}")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_value(args[0], item, below(where, f"[{i}]")) for i, item in enumerate(raw))
    if len(raw) != len(args):
        raise UserError(f"{where}: expected {len(args)} values, found {len(raw)}.")
    return tuple(
        _value(arg, item, below(where, f"[{i}]"))
        for i, (arg, item) in enumerate(zip(args, raw, strict=True))
    )


def _dict(args: tuple[Any, ...], raw: Any, where: str) -> dict[Any, Any]:
    if not isinstance(raw, Mapping):
        raise UserError(
            f"{where}: expected names with values, found {shown(raw)}." + remedy_of_table(where)
        )
    key_hint, value_hint = args or (Any, Any)
    return {
        _value(key_hint, k, where): _value(value_hint, v, below(where, str(k)))
        for k, v in raw.items()
    }
