"""Facts about a field that is read from a file: its description, its unit, the values it may have.

A description is the text below the field. Unit and limits stand in the field's type:

    minutes: Annotated[int, Limits("minutes", least=1)] = 1440
    \"\"\"Time limit of a job.\"\"\"

The reference of all fields, the JSON schemas and the errors of base/parse.py take them from here.
"""

import ast
import functools
import inspect
import math
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from kdbatch.base.errors import UserError
from kdbatch.base.reading.shown_values import shown, shown_number

_NUMBERS = (int, float)  # a union would be made at each call
UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""Characters that a text from a file must not have: control characters but for tab and newline,
other separators of lines, and halves of surrogate pairs, which UTF-8 cannot hold.
"""


@dataclass(frozen=True)
class Limits:
    """The unit of a number, and the range of values that it may have; `advice` is the end of an
    error, after the range.

    `choices` are the names that a text may be; other checks refuse others. `max_length` is how many
    characters a text may have, all in one line.
    """

    unit: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    max_length: int | None = None
    advice: str = ""

    @property
    def range_text(self) -> str:
        """`at least 1`, `0 to 1`, `more than 0 and at most 0.5`; empty without limits."""
        if self.max_length is not None:
            return f"one line of at most {self.max_length:,} characters"
        if self.least is not None and self.most is not None:
            return f"{_bound(self.least)} to {_bound(self.most)}"
        bounds = (
            ("at least", self.least),
            ("more than", self.above),
            ("at most", self.most),
            ("less than", self.below),
        )
        return " and ".join(
            f"{words} {_bound(bound)}" for words, bound in bounds if bound is not None
        )

    def check(self, value: Any, *, where: str) -> None:
        """Raise a UserError that starts with `where` if a number is outside of the range, or a text
        is too long or no line. A value of another type is not looked at.
        """
        if isinstance(value, str) and self.max_length is not None:
            self._check_line(value, self.max_length, where)
        elif isinstance(value, _NUMBERS) and not self.holds(value):
            wanted = self.range_text or "a finite number"
            found = shown_number(value)
            raise UserError(f"{where}: found {found}. Write {wanted}{self.advice}.")

    def holds(self, value: float) -> bool:
        """Whether a number is in the range."""
        return isinstance(value, bool) or (
            (isinstance(value, int) or math.isfinite(value))
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def _check_line(self, text: str, max_length: int, where: str) -> None:
        if len(text) > max_length:
            raise UserError(f"{where}: found {len(text):,} characters. Write {self.range_text}.")
        if "\n" in text or "\t" in text or UNPRINTABLE.search(text):
            raise UserError(
                f"{where}: found {shown(text)}. Write {self.range_text}, without control "
                "characters."
            )


def _bound(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) else f"{number:g}"


@dataclass(frozen=True)
class SameAs:
    """Says that a field has the description and the limits of the field `name` of `owner`."""

    owner: type
    name: str


@dataclass(frozen=True)
class ClassByTag:
    """Says that `class_of` has the class of a value by the text in its field `tag`, and raises a
    UserError that starts with its second argument where there is none.
    """

    tag: str
    class_of: Callable[..., type]


@functools.cache
def limits_of(hint: Any) -> Limits | None:
    """The limits in the type of a field."""
    for fact in getattr(hint, "__metadata__", ()):
        if isinstance(fact, Limits):
            return fact
        if isinstance(fact, SameAs):
            return limits_of(field_hints(fact.owner)[fact.name])
    return None


def check_limits(instance: object) -> None:
    """Check every number among an instance's fields, also those in tuples and mappings; for
    `__post_init__`.

    Raises:
        UserError: a number is outside of its range; the message starts with the field's name.
    """
    for name, hint, limits in _limited_fields(type(instance)):
        value = getattr(instance, name)
        if limits and isinstance(value, _NUMBERS):
            limits.check(value, where=name)
        else:
            _check_value(hint, value, where=name)


def check_number(cls: type, name: str, number: float, *, where: str) -> None:
    """Raise a UserError that starts with `where` if the field `name` of a class cannot have it."""
    if limits := limits_of(field_hints(cls)[name]):
        limits.check(number, where=where)


@functools.cache
def _limited_fields(cls: type) -> tuple[tuple[str, Any, Limits | None], ...]:
    hints = field_hints(cls).items()
    return tuple((name, hint, limits_of(hint)) for name, hint in hints if _has_limits(hint))


@functools.cache
def _has_limits(hint: Any) -> bool:
    return limits_of(hint) is not None or any(map(_has_limits, _hints_within(hint)))


@functools.cache
def _hints_within(hint: Any) -> tuple[Any, ...]:
    """The types that a type is made of: those of a list's items, of a mapping's keys and values."""
    if typing.get_origin(hint) is Annotated:
        return typing.get_args(hint)[:1]
    if typing.get_origin(hint) in (tuple, dict, Mapping, typing.Union, types.UnionType):
        return tuple(arg for arg in typing.get_args(hint) if arg is not Ellipsis)
    return ()


def _check_value(hint: Any, value: Any, *, where: str) -> None:
    if limits := limits_of(hint):
        limits.check(value, where=where)
    within = _hints_within(hint)
    if isinstance(value, Mapping) and len(within) == 2:
        for key, item in value.items():
            _check_value(within[1], item, where=f"{where}.{key}")
    elif isinstance(value, tuple) and typing.get_origin(hint) is tuple:
        for i, item in enumerate(value):
            _check_value(within[min(i, len(within) - 1)], item, where=f"{where}[{i}]")
    elif typing.get_origin(hint) in (Annotated, typing.Union, types.UnionType):
        for inner in within:
            _check_value(inner, value, where=where)


def description_of(cls: type, name: str) -> str:
    """The text below a field, in one line; empty where there is none."""
    for fact in getattr(field_hints(cls).get(name), "__metadata__", ()):
        if isinstance(fact, SameAs):
            return description_of(fact.owner, fact.name)
    return _descriptions(cls).get(name, "")


@functools.cache
def field_hints(cls: type) -> dict[str, Any]:
    """The types of a class's fields, with what stands in Annotated."""
    return typing.get_type_hints(cls, include_extras=True)


@functools.cache
def _descriptions(cls: type) -> dict[str, str]:
    """The texts below the fields of a class, those that it inherits among them."""
    inherited = {k: v for base in cls.__bases__ for k, v in _descriptions(base).items()}
    return inherited | _descriptions_in_source(cls)


def _descriptions_in_source(cls: type) -> dict[str, str]:
    try:
        body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    except (OSError, TypeError, SyntaxError):  # an installation without sources
        return {}
    assert isinstance(body, ast.ClassDef)
    found = {}
    for node, following in zip(body.body, body.body[1:]):
        match node, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found


Share = Annotated[float, Limits("share", least=0, most=1)]
"""A number from 0 to 1."""

Count = Annotated[int, Limits("number", least=0, most=10**15)]
"""A number of things that a program has counted."""

ByteCount = Annotated[int, Limits("bytes", least=0, most=10**18)]
"""A number of bytes, or an offset."""

Time = Annotated[float, Limits("seconds", least=-(10**12), most=10**12)]
"""Seconds since 1970, or the difference of two such times: a clock may be set back."""

OneLine = Annotated[str, Limits(max_length=200)]
"""A title or a name."""
