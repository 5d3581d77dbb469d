"""Converts parsed YAML, TOML and JSON values to frozen dataclasses; errors name the field.

After the conversion no code handles the raw values.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean

T = TypeVar("T")


def parse(cls: type[T], raw: Any, *, where: str) -> T:
    """Build the dataclass `cls` from a mapping.

    Fields may be dataclasses, tuples, dicts, unions and Literals, nested to any depth.

    Raises:
        UserError: an unknown or missing field, or a value of the wrong type; the message starts
            with `where` and the field's path.
    """
    return _value(cls, raw, where)


def _dataclass(cls: Any, raw: Any, where: str) -> Any:
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: expected the fields of {cls.__name__}, found {_shown(raw)}.")
    hints, required = _fields(cls)
    for name in raw:
        if name not in hints:
            known = ", ".join(hints) or "none"
            suggestion = did_you_mean(str(name), hints)
            raise UserError(
                f"{where}.{name}: {cls.__name__} has no such field.{suggestion} Fields: {known}."
            )
    for name in required:
        if name not in raw:
            raise UserError(f"{where}: {cls.__name__} needs the field {name!r}.")
    values = {name: _value(hints[name], value, f"{where}.{name}") for name, value in raw.items()}
    try:
        return cls(**values)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


@functools.cache
def _fields(cls: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The types of a dataclass's fields by name, and the names of those without a default.

    Cached: thousands of files are parsed into few classes.
    """
    hints = typing.get_type_hints(cls)
    fields = [f for f in dataclasses.fields(cls) if f.init]
    required = (
        f.name
        for f in fields
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    return {f.name: hints[f.name] for f in fields}, tuple(required)


@functools.cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...], bool]:
    """A type's origin and arguments, and whether it is a dataclass."""
    return typing.get_origin(hint), typing.get_args(hint), dataclasses.is_dataclass(hint)


def _value(hint: Any, raw: Any, where: str) -> Any:
    origin, args, is_dataclass = _parts(hint)
    if hint is Any:
        return raw
    if is_dataclass:
        return _dataclass(hint, raw, where)
    if origin is typing.Literal:
        if raw in args and type(raw) in {type(a) for a in args}:
            return raw
        choices = [str(a) for a in args]
        suggestion = did_you_mean(str(raw), choices)
        raise UserError(f"{where}: found {_shown(raw)}.{suggestion} One of: {', '.join(choices)}.")
    if origin in (typing.Union, types.UnionType):
        return _union(args, raw, where)
    if origin is tuple:
        return _tuple(args, raw, where)
    if origin in (dict, Mapping) or hint is dict:
        return _dict(args, raw, where)
    return _scalar(hint, raw, where)


def _union(args: tuple[Any, ...], raw: Any, where: str) -> Any:
    if raw is None and type(None) in args:
        return None
    choices = tuple(a for a in args if a is not type(None))
    if len(choices) == 1:
        return _value(choices[0], raw, where)
    if isinstance(raw, Mapping) and (tag := _tag(choices)):
        return _tagged(choices, raw, where, tag=tag)
    for choice in choices:
        try:
            return _value(choice, raw, where)
        except UserError:
            continue
    names = " or ".join(getattr(c, "__name__", str(c)) for c in choices)
    raise UserError(f"{where}: expected {names}, found {_shown(raw)}.")


@functools.cache
def _tag(choices: tuple[Any, ...]) -> str:
    """The field that distinguishes dataclasses: a Literal of one value, different in each.

    Empty where there is no such field.
    """
    if not all(dataclasses.is_dataclass(choice) for choice in choices):
        return ""
    hints = [_fields(choice)[0] for choice in choices]
    for name in hints[0]:
        values = {
            typing.get_args(hint[name])
            for hint in hints
            if typing.get_origin(hint.get(name)) is typing.Literal
        }
        if len(values) == len(choices) and all(len(value) == 1 for value in values):
            return name
    return ""


def _tagged(choices: tuple[Any, ...], raw: Mapping[Any, Any], where: str, *, tag: str) -> Any:
    """Parse the one choice that `raw` names.

    So an error inside is reported with its own field, and not as a failure of every choice.
    """
    by_value = {typing.get_args(_fields(choice)[0][tag])[0]: choice for choice in choices}
    if tag not in raw:
        known = ", ".join(map(str, by_value))
        raise UserError(
            f"{where}: needs the field {tag!r}, which selects the type. One of: {known}."
        )
    value = _value(typing.Literal[*by_value], raw[tag], f"{where}.{tag}")
    return _value(by_value[value], raw, where)


def _tuple(args: tuple[Any, ...], raw: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(raw, (list, tuple)):
        raise UserError(f"{where}: expected a list, found {_shown(raw)}.")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(raw))
    if len(raw) != len(args):
        raise UserError(f"{where}: expected {len(args)} values, found {len(raw)}.")
    return tuple(
        _value(arg, item, f"{where}[{i}]")
        for i, (arg, item) in enumerate(zip(args, raw, strict=True))
    )


def _dict(args: tuple[Any, ...], raw: Any, where: str) -> dict[Any, Any]:
    if not isinstance(raw, Mapping):
        raise UserError(f"{where}: expected names with values, found {_shown(raw)}.")
    key_hint, value_hint = args or (Any, Any)
    return {
        _value(key_hint, k, where): _value(value_hint, v, f"{where}.{k}") for k, v in raw.items()
    }


def _scalar(hint: Any, raw: Any, where: str) -> Any:
    if hint is float and isinstance(raw, int) and not isinstance(raw, bool):
        return float(raw)
    if isinstance(raw, hint) and not (isinstance(raw, bool) and hint is not bool):
        return raw
    quoted = f' Write it in quotes: "{raw}".' if hint is str and type(raw) in (int, float) else ""
    raise UserError(
        f"{where}: expected {_NAMES.get(hint, hint.__name__)}, found {_shown(raw)}.{quoted}"
    )


def _shown(raw: Any) -> str:
    text = "nothing" if raw is None else repr(raw)
    return text if len(text) <= 60 else text[:57] + "..."


_NAMES = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
