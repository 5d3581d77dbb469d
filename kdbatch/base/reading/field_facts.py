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
import textwrap
import typing
from dataclasses import dataclass
from typing import Annotated, Any

from kdbatch.base.errors import UserError


@dataclass(frozen=True)
class Limits:
    """The unit of a number, and the range of values that it may have; `advice` is the end of an
    error, after the range. `choices` are the names that a text may be; other checks refuse others.
    """

    unit: str = ""
    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    advice: str = ""

    @property
    def range_text(self) -> str:
        """`at least 1`, `0 to 1`, `more than 0 and at most 0.5`; empty without limits."""
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}"
        bounds = (
            ("at least", self.least),
            ("more than", self.above),
            ("at most", self.most),
            ("less than", self.below),
        )
        return " and ".join(f"{words} {bound:g}" for words, bound in bounds if bound is not None)

    def check(self, value: Any, *, where: str) -> None:
        """Raise a UserError that starts with `where` if a number is outside of the range."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        is_inside = (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )
        if not is_inside:
            wanted = self.range_text or "a finite number"
            raise UserError(f"{where}: found {value:g}. Write {wanted}{self.advice}.")


@dataclass(frozen=True)
class SameAs:
    """Says that a field has the description and the limits of the field `name` of `owner`."""

    owner: type
    name: str


def limits_of(hint: Any) -> Limits | None:
    """The limits in the type of a field."""
    for fact in getattr(hint, "__metadata__", ()):
        if isinstance(fact, Limits):
            return fact
        if isinstance(fact, SameAs):
            return limits_of(field_hints(fact.owner)[fact.name])
    return None


def check_limits(instance: object) -> None:
    """Check every number among an instance's fields; for `__post_init__`.

    Raises:
        UserError: a number is outside of its range; the message starts with the field's name.
    """
    for name, hint in field_hints(type(instance)).items():
        if limits := limits_of(hint):
            limits.check(getattr(instance, name), where=name)


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
