"""The fields of dataclasses that a hash covers, so that new fields leave old hashes as they are."""

import dataclasses
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")
_IS_NEW = "left out of hashes at its default"


def new_field(default: T) -> T:
    """The default of a dataclass's field that came later than hashes of the dataclass.

    `hashed_fields` leaves the field out where it has its default, so the hash of a value without
    the field stays valid. Its default must never change.
    """
    return dataclasses.field(default=default, metadata={_IS_NEW: True})


def hashed_fields(value: Any) -> dict[str, Any]:
    """The fields of a dataclass, for json: without the deep copies of `dataclasses.asdict`, which
    were half of the time of a large plan.
    """
    fields = {name: getattr(value, name) for name in _field_names(type(value))}
    for name, default in _new_fields(type(value)):
        if fields[name] == default:
            del fields[name]
    return fields


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@cache
def _new_fields(kind: type) -> tuple[tuple[str, Any], ...]:
    return tuple((f.name, f.default) for f in dataclasses.fields(kind) if _IS_NEW in f.metadata)
