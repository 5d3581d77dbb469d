"""Fields that came later than a hash leave it as it is, unless they are set."""

import json
from dataclasses import dataclass
from typing import Any

from kdbatch.base.digests.hashed_fields import hashed_fields, new_field


@dataclass(frozen=True, kw_only=True)
class Old:
    size: int = 1


@dataclass(frozen=True, kw_only=True)
class New:
    size: int = 1
    colour: str = new_field("grey")


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Any


def text(value: Any) -> str:
    return json.dumps(value, default=hashed_fields, sort_keys=True)


def test_a_new_field_at_its_default_is_not_hashed_at_any_depth() -> None:
    assert text(New()) == text(Old()) == '{"size": 1}'
    assert text(Outer(inner=New(size=2))) == text(Outer(inner=Old(size=2)))


def test_a_new_field_with_another_value_is_hashed() -> None:
    assert hashed_fields(New(colour="red")) == {"size": 1, "colour": "red"}
    assert text(Outer(inner=New(colour="red"))) != text(Outer(inner=Old()))


def test_a_new_field_has_its_default_where_nothing_is_given() -> None:
    assert New().colour == "grey"
