"""JSON schemas of experiments, profiles and kdbatch.toml, from the types that they are read as."""

import dataclasses
import types
import typing
from typing import Annotated, Any, Literal

from kdbatch.base.reading.field_facts import Limits, description_of, field_hints, limits_of
from kdbatch.base.reading.field_types import TextOrNumber
from kdbatch.plan.experiment_file import ExperimentFile, Filled
from kdbatch.plan.outside.outside_file import OutsideFile
from kdbatch.plan.profiles.profile_file import Profile
from kdbatch.plan.validate import CLAIM_FIELDS
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.declarations import Claim
from kdbatch.vocab.tasks import TASKS

Schema = dict[str, Any]

NAME = {"type": "string", "pattern": r"^\$\w+$"}  # a `$name` of vary, as a whole value
ONE_LINE = r"^[^\x00-\x1f\x7f]*$"
SCALAR = {"type": ["string", "number", "boolean"]}
AXIS = {
    "anyOf": [
        {"type": "array", "items": SCALAR, "minItems": 1, "uniqueItems": True},
        {"type": "object", "additionalProperties": {"type": "object"}, "minProperties": 1},
    ]
}
FILE_TYPES = {
    "experiment": (ExperimentFile, "An experiment of kdbatch, jobs/NAME.yaml"),
    "outside": (OutsideFile, "Runs of another trainer, jobs/NAME.yaml"),
    "profile": (Profile, "A profile of kdbatch, jobs/profiles/NAME.yaml"),
    "kdbatch": (Config, "The settings of a study, kdbatch.toml"),
}
SET_BY_EXPERIMENT = ("name", "complexity")  # fields of a pretext task that a profile cannot set


SCHEMA_NAMES = ("experiment", "profile", "kdbatch")


def file_schema(name: str) -> Schema:
    """The schema of a file: one of SCHEMA_NAMES. That of experiments is for both kinds of them."""
    cls, title = FILE_TYPES[name]
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": title}
    if name != "experiment":
        return head | dataclass_schema(cls)
    own_fields = [{"required": ["roles"]}, {"required": ["seeds", "name"]}]
    is_outside = {"anyOf": own_fields, "not": {"required": ["student"]}}
    outside = dataclass_schema(FILE_TYPES["outside"][0])
    return head | {
        "type": "object",
        "if": is_outside,
        "then": outside,
        "else": dataclass_schema(cls),
    }


def dataclass_schema(cls: Any, *, filled: bool = False, changes: bool = False) -> Schema:
    """The schema of a mapping that is read as `cls`. With `filled` a value may be a `$name`; with
    `changes` no field is needed.
    """
    properties, required = {}, []
    for field in dataclasses.fields(cls):
        if cls in TASK_CLASSES and field.name in SET_BY_EXPERIMENT:
            continue
        properties[field.name] = _field_schema(cls, field.name, filled)
        if is_required(field) and not changes:
            required.append(field.name)
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        schema["required"] = required
    if cls is Claim:
        schema["allOf"] = [_claim_rule(kind) for kind in CLAIM_FIELDS]
    return schema


def is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


TASK_CLASSES: tuple[Any, ...] = tuple(spec.parameters for spec in TASKS.values())


def _field_schema(cls: Any, name: str, filled: bool) -> Schema:
    if (cls, name) == (ExperimentFile, "vary"):
        schema: Schema = {"type": "object", "additionalProperties": AXIS}
    elif (cls, name) == (Profile, "tasks"):
        parameters = {
            task: dataclass_schema(spec.parameters, changes=True) for task, spec in TASKS.items()
        }
        schema = {"type": "object", "properties": parameters, "additionalProperties": False}
    else:
        schema = hint_schema(field_hints(cls)[name], filled=filled)
    if (cls, name) == (Profile, "seeds"):
        schema |= {"minItems": 1, "uniqueItems": True}
    if filled:
        schema = {"anyOf": [schema, NAME]}
    limits = limits_of(field_hints(cls)[name])
    unit = f" Unit: {limits.unit}." if limits and limits.unit else ""
    return {"description": description_of(cls, name) + unit} | schema


def hint_schema(hint: Any, *, filled: bool = False, changes: bool = False) -> Schema:
    """The schema of a value of this type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _annotated(hint, filled, changes)
    if dataclasses.is_dataclass(hint):
        return dataclass_schema(hint, filled=filled, changes=changes)
    if origin is Literal:
        return {"enum": list(args)}
    if origin in (typing.Union, types.UnionType):
        return {"anyOf": [hint_schema(arg, filled=filled) for arg in args]}
    if origin is tuple:
        return {"type": "array", "items": hint_schema(args[0], filled=filled)}
    if origin is dict:
        schema: Schema = {
            "type": "object",
            "additionalProperties": hint_schema(args[1], filled=filled, changes=changes),
        }
        if (limits := limits_of(args[0])) and limits.choices:
            schema["propertyNames"] = {"enum": list(limits.choices)}
        return schema
    return dict(_SCALARS[hint])


_SCALARS: dict[Any, Schema] = {
    Any: {},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    int: {"type": "integer"},
    str: {"type": "string"},
    type(None): {"type": "null"},
}
_BOUNDS = {
    "least": "minimum",
    "above": "exclusiveMinimum",
    "most": "maximum",
    "below": "exclusiveMaximum",
}


def _annotated(hint: Any, filled: bool, changes: bool) -> Schema:
    if hint == TextOrNumber:
        return {"type": ["string", "number"]}
    base, *facts = typing.get_args(hint)
    for fact in facts:
        if isinstance(fact, Filled):
            return hint_schema(fact.hint, filled=True, changes=fact.changes)
    schema = hint_schema(base, filled=filled)
    limits = limits_of(hint) or Limits()
    for name, keyword in _BOUNDS.items():
        if (bound := getattr(limits, name)) is not None:
            schema[keyword] = bound
    if limits.max_length is not None:
        schema |= {"maxLength": limits.max_length, "pattern": ONE_LINE}
    return schema | ({"enum": list(limits.choices)} if limits.choices else {})


def _claim_rule(kind: str) -> Schema:
    """A claim of this kind has the fields that it needs, and none that it would ignore."""
    needed, allowed = CLAIM_FIELDS[kind]  # type: ignore[index]
    all_optional = {name for n, a in CLAIM_FIELDS.values() for name in (*n, *a)}
    unused = sorted(all_optional - {*needed, *allowed})
    then: Schema = {"required": list(needed), "properties": dict.fromkeys(unused, False)}
    return {"if": {"properties": {"kind": {"const": kind}}}, "then": then}
