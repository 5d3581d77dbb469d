"""docs/REFERENCE.md and the JSON schemas: made from the types, and agreeing with what `plan` reads.

The files of docs/examples/ have every field. Each is changed in one place at a time, and both the
schema and the reader have to accept or refuse it.
"""

import copy
import dataclasses
import functools
import json
import math
import tomllib
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.field_reference import (
    DOCUMENT,
    EXAMPLES,
    HEADINGS,
    SCHEMAS,
    fields_of,
    reference_page,
    schema_text,
)
from support.field_schema import FILE_TYPES, SCHEMA_NAMES, file_schema
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import description_of, field_hints, limits_of
from kdbatch.launch.init_config import DetectedSite, config_text
from kdbatch.plan.experiment_file import Filled
from kdbatch.plan.profiles.profile_file import Profile
from kdbatch.plan.resolve import make_plan
from kdbatch.plan.specs import StudentSpec
from kdbatch.vocab.config import Config
from kdbatch.vocab.tasks import TASKS

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema comes with the extra dev")

FILES = {
    "experiment": EXAMPLES / "every_field.yaml",
    "profile": EXAMPLES / "profiles" / "every_field.yaml",
    "kdbatch": EXAMPLES / "kdbatch.toml",
    "outside": EXAMPLES / "outside.yaml",
}
Place = tuple[str | int, ...]


def load(kind: str) -> dict[str, Any]:
    text = FILES[kind].read_text(encoding="utf-8")
    return tomllib.loads(text) if kind == "kdbatch" else yaml.load(text, Loader=yaml.CSafeLoader)


@functools.cache
def validator_of(kind: str) -> Any:
    return jsonschema.Draft7Validator(file_schema("experiment" if kind == "outside" else kind))


def problem_of_schema(kind: str, raw: Any) -> str:
    """The first error of the schema; empty where the file is valid."""
    error = next(iter(validator_of(kind).iter_errors(raw)), None)
    return error.message if error else ""


@pytest.fixture
def problem_of_reader(sharded, in_tmp: Path) -> Callable[[str, Any], str]:
    """The error of `kdbatch plan`, or of reading kdbatch.toml; empty where the file is accepted."""
    config = sharded(k400=240_000, ssv2=168_000, ucf101=13_320, hmdb51=6766)
    experiment, profile = in_tmp / "every_field.yaml", in_tmp / "profiles" / "every_field.yaml"
    profile.parent.mkdir()
    paths = {"experiment": experiment, "profile": profile, "outside": in_tmp / "outside.yaml"}
    for kind, path in paths.items():
        path.write_text(FILES[kind].read_text(encoding="utf-8"))

    def read(kind: str, raw: Any) -> str:
        try:
            if kind == "kdbatch":
                parse(Config, raw, where="kdbatch.toml")
            else:
                text = json.dumps(raw).replace("Infinity", ".inf").replace("NaN", ".nan")
                paths[kind].write_text(text)
                planned = paths["outside"] if kind == "outside" else experiment
                make_plan([planned], profile="every_field", config=config)
        except UserError as error:
            return str(error)
        return ""

    return read


def places(raw: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    """(path, value) of every value in nested lists and mappings."""
    if path:
        yield path, raw
    if not isinstance(raw, dict | list):
        return
    for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
        yield from places(value, (*path, key))


def changed(raw: Any, path: Place, value: Any) -> Any:
    """A copy in which another value is at `path`."""
    copied, holder = _copy_with_holder(raw, path)
    holder[path[-1]] = value
    return copied


def without(raw: Any, path: Place) -> Any:
    """A copy in which the field at `path` is missing."""
    copied, holder = _copy_with_holder(raw, path)
    del holder[path[-1]]
    return copied


def _copy_with_holder(raw: Any, path: Place) -> tuple[Any, Any]:
    """A copy, and the mapping or list in it that has the value at `path`."""
    copied = holder = copy.deepcopy(raw)
    for step in path[:-1]:
        holder = holder[step]
    return copied, holder


def classes_at(hint: Any, path: Place) -> Any:
    """The type of the value at `path` of a file that is read as `hint`."""
    for fact in getattr(hint, "__metadata__", ()):
        if isinstance(fact, Filled):
            return classes_at(fact.hint, path)
    args = typing.get_args(hint)
    if type(None) in args and not hasattr(hint, "__metadata__"):
        return classes_at(args[0], path)
    if not path:
        return hint
    step, rest = path[0], path[1:]
    if dataclasses.is_dataclass(hint):
        if (hint, step) == (Profile, "tasks") and len(path) > 1:
            return classes_at(TASKS[str(path[1])].parameters, path[2:])
        return classes_at(field_hints(typing.cast(type, hint)).get(str(step)), rest)
    if hasattr(hint, "__metadata__"):
        return classes_at(args[0], path)
    if typing.get_origin(hint) is dict:
        return classes_at(args[1], rest)
    return classes_at(args[0], rest) if typing.get_origin(hint) is tuple else None


def fields_in(kind: str) -> list[tuple[Place, Any, str, Any]]:
    """(path, class, field, value) of every field that the example file has."""
    cls, raw = FILE_TYPES[kind][0], load(kind)
    found = []
    for path, value in places(raw):
        holder = classes_at(cls, path[:-1])
        if dataclasses.is_dataclass(holder):
            found.append((path, holder, str(path[-1]), value))
    return found


def test_the_page_and_the_schemas_are_those_of_the_types() -> None:
    hint = "type: make reference"
    assert DOCUMENT.read_text(encoding="utf-8") == reference_page(), hint
    for name in SCHEMA_NAMES:
        assert (SCHEMAS / f"{name}.json").read_text(encoding="utf-8") == schema_text(name), hint
        jsonschema.Draft7Validator.check_schema(file_schema(name))


@pytest.mark.parametrize("cls", HEADINGS, ids=lambda cls: cls.__name__)
def test_every_field_has_a_description_and_every_number_a_unit(cls: Any) -> None:
    for field in fields_of(cls):
        assert description_of(cls, field.name).endswith("."), field.name
        hint = field_hints(cls)[field.name]
        base = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
        if base in (int, float):
            limits = limits_of(hint)
            assert limits and limits.unit, field.name


def test_the_examples_have_every_field() -> None:
    seen = {(cls, name) for kind in FILES for _, cls, name, _ in fields_in(kind)}
    assert {(cls, f.name) for cls in HEADINGS for f in fields_of(cls)} == seen


@pytest.mark.parametrize("kind", FILES)
def test_the_examples_are_accepted_by_schema_and_reader(
    kind: str, problem_of_reader: Callable[[str, Any], str]
) -> None:
    assert (problem_of_schema(kind, load(kind)), problem_of_reader(kind, load(kind))) == ("", "")


def test_the_shipped_files_are_valid_and_name_their_schema() -> None:
    for path in (*JOBS.rglob("*.yaml"), *EXAMPLES.rglob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        kind = "profile" if path.parent.name == "profiles" else "experiment"
        assert problem_of_schema(kind, yaml.safe_load(text)) == "", path
        first, _, _ = text.partition("\n")
        schema = first.removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / schema).resolve() == SCHEMAS / f"{kind}.json", path
    text = config_text(DetectedSite())
    assert text.startswith("#:schema jobs/schema/kdbatch.json\n")
    assert problem_of_schema("kdbatch", tomllib.loads(text)) == ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_a_missing_or_misspelt_field_is_refused_by_schema_and_reader(
    kind: str, problem_of_reader: Callable[[str, Any], str]
) -> None:
    raw = load(kind)
    num_missing = 0
    for path, cls, name, value in fields_in(kind):
        misspelt = changed(without(raw, path), (*path[:-1], f"{name}x"), value)
        assert problem_of_schema(kind, misspelt), path
        assert f"'{name}x'" in problem_of_reader(kind, misspelt), path
        (field,) = (f for f in dataclasses.fields(cls) if f.name == name)
        is_needed = field.default is field.default_factory is dataclasses.MISSING
        if is_needed and path[0] != "controls":
            missing = without(raw, path)
            assert problem_of_schema(kind, missing), path
            assert f"needs the field {name!r}" in problem_of_reader(kind, missing), path
            num_missing += 1
    assert num_missing >= (1 if kind == "kdbatch" else 10)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_a_value_of_another_type_is_refused_by_schema_and_reader(
    kind: str, problem_of_reader: Callable[[str, Any], str]
) -> None:
    raw = load(kind)
    for path, _, name, value in fields_in(kind):
        if (name, path[0]) == ("pretrain", "references"):
            continue
        wrong = {"not": "this"} if not isinstance(value, dict) else ["not this"]
        broken = changed(raw, path, wrong)
        assert problem_of_schema(kind, broken), path
        assert problem_of_reader(kind, broken), path


@pytest.mark.slow
@pytest.mark.parametrize("kind", FILES)
def test_a_number_or_name_outside_of_its_range_is_refused_by_schema_and_reader(
    kind: str, problem_of_reader: Callable[[str, Any], str]
) -> None:
    raw = load(kind)
    num_checked = 0
    for path, value in places(raw):
        limits = limits_of(classes_at(FILE_TYPES[kind][0], path))
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not limits or not (limits.choices or (is_number and limits.range_text)):
            continue
        outside: list[Any] = ["nothing-of-this-name"] if limits.choices else []
        if is_number:
            outside += [limits.least - 1] if limits.least is not None else []
            outside += [limits.most + 1] if limits.most is not None else []
            outside += [limits.above] if limits.above is not None else []
            outside += [limits.below] if limits.below not in (None, math.inf) else []
        for number in outside:
            number = int(number) if isinstance(value, int) else number
            broken = changed(raw, path, number)
            assert problem_of_schema(kind, broken), (path, number)
            assert problem_of_reader(kind, broken), (path, number)
            num_checked += 1
    assert num_checked >= (4 if kind == "outside" else 11)


@pytest.mark.parametrize(
    ("index", "change", "says"),
    [
        (0, {"points": 1.0}, "beats does not use it"),
        (1, {"axis": None}, "best_at needs it"),
        (2, {"axis": "task"}, "mean_gain_at_least does not use it"),
        (3, {"videos": None}, "agrees_with_published needs it"),
        (4, {"at": {"task": "still"}}, "more_grid_than does not use it"),
    ],
)
def test_the_fields_of_a_claim_follow_from_its_kind(
    index: int, change: dict[str, Any], says: str, problem_of_reader: Callable[[str, Any], str]
) -> None:
    raw = load("experiment")
    claim = raw["claims"][index] | change
    raw["claims"][index] = {name: value for name, value in claim.items() if value is not None}
    assert problem_of_schema("experiment", raw)
    assert says in problem_of_reader("experiment", raw)


def test_an_error_says_what_the_field_is(problem_of_reader: Callable[[str, Any], str]) -> None:
    raw = load("experiment")
    raw["student"]["temperature"] = "hot"
    found = problem_of_reader("experiment", raw)
    assert "student.temperature: expected a number, found the text 'hot'." in found
    assert found.endswith("temperature: " + description_of(StudentSpec, "temperature"))
    del raw["student"]["title"]
    found = problem_of_reader("experiment", raw)
    assert "needs the field 'title'. Fields: title, " in found
    assert found.endswith(" title: " + description_of(StudentSpec, "title"))


def test_infinite_numbers_are_refused(problem_of_reader: Callable[[str, Any], str]) -> None:
    for number in (math.inf, math.nan):
        raw = load("profile")
        raw["distill"]["lr"] = number
        assert "distill.lr: found" in problem_of_reader("profile", raw)
