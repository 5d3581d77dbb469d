"""Every number that is read from a file, or that a recipe holds, has a unit and a range."""

import ast
import contextlib
import dataclasses
import functools
import importlib
import math
import pkgutil
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import kdbatch
from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import field_hints, limits_of
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import Augment, View

PACKAGE = Path(kdbatch.__file__).parent


def classes_that_are_parsed() -> Iterator[type]:
    """The first argument of every call `parse(CLASS, ...)` in the package, where it is a name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        calls = [
            node.args[0].id
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "parse"
            and node.args
            and isinstance(node.args[0], ast.Name)
        ]
        with contextlib.suppress(ImportError, UserError):  # a tracker that is not installed
            module = importlib.import_module(_module_name(path)) if calls else None
            found = (getattr(module, name, None) for name in calls)
            yield from (c for c in found if isinstance(c, type) and dataclasses.is_dataclass(c))


def _module_name(path: Path) -> str:
    return ".".join(("kdbatch", *path.relative_to(PACKAGE).with_suffix("").parts))


def classes_of(package: str) -> Iterator[type]:
    """The dataclasses of every module of a package."""
    root = importlib.import_module(package)
    names = [module.name for module in pkgutil.walk_packages(root.__path__, f"{package}.")]
    for name in names:
        for value in vars(importlib.import_module(name)).values():
            if isinstance(value, type) and dataclasses.is_dataclass(value):
                yield value


@functools.cache
def numbers_without_range(hint: Any) -> bool:
    """Whether a number in this type lacks a unit or an end of its range."""
    limits = limits_of(hint)
    if limits and not limits.choices and limits.max_length is None:
        is_bounded = (limits.least, limits.above) != (None, None)
        return not (limits.unit and is_bounded and (limits.most, limits.below) != (None, None))
    if typing.get_origin(hint) is typing.Literal:
        return False
    return hint in (int, float) or any(map(numbers_without_range, typing.get_args(hint)))


def all_classes() -> list[type]:
    found = [*classes_of("kdbatch.vocab"), *classes_that_are_parsed()]
    found += [cls for name in ("profiles", "specs") for cls in _classes_of_module(name)]
    return sorted(set(found), key=lambda cls: (cls.__module__, cls.__qualname__))


def _classes_of_module(name: str) -> Iterator[type]:
    module = importlib.import_module(f"kdbatch.plan.{name}")
    yield from (v for v in vars(module).values() if isinstance(v, type))


CONSTANTS = ("TaskSpec", "Limits")  # tables in the sources, which nobody types


@pytest.mark.parametrize(
    "cls",
    [c for c in all_classes() if dataclasses.is_dataclass(c) and c.__name__ not in CONSTANTS],
    ids=lambda cls: cls.__qualname__,
)
def test_every_number_has_a_unit_and_both_ends_of_its_range(cls: type) -> None:
    fields = {field.name for field in dataclasses.fields(cls)}
    hints = {name: hint for name, hint in field_hints(cls).items() if name in fields}
    assert [name for name, hint in hints.items() if numbers_without_range(hint)] == []


def test_the_walk_finds_the_classes_of_every_kind_of_file() -> None:
    names = {cls.__name__ for cls in all_classes()}
    known = {"Assignment", "Schedule", "Config", "Profile", "Done", "Status", "Sample", "Claim"}
    known |= {"ExperimentFile", "NodeReport", "Sbatch", "ImageFile", "LiveQueue", "LogMark"}
    assert known <= names
    assert numbers_without_range(tuple[int, ...]) and numbers_without_range(float | None)


NONSENSE = (math.nan, math.inf, -math.inf, 1e300, -1e300, 10**400, -(10**400))
BUILT: tuple[tuple[type, dict[str, Any]], ...] = (
    (Schedule, {"epochs": 2, "batch_clips": 8, "lr": 0.1}),
    (View, {}),
    (Augment, {}),
    (Backbone, {"kind": "r21d_10"}),
    (Resources, {}),
    (Retries, {}),
    (ShardRequest, {"dataset": "k400"}),
    *((spec.parameters, {}) for spec in TASKS.values()),
)


@pytest.mark.parametrize(("cls", "given"), BUILT, ids=lambda value: getattr(value, "__name__", ""))
def test_a_number_out_of_range_is_refused_where_it_is_built_in_python(
    cls: Any, given: dict[str, Any]
) -> None:
    assert cls(**given)
    num_checked = 0
    for name, hint in field_hints(cls).items():
        limits = limits_of(hint)
        if limits is None or limits.choices:
            continue
        for value in NONSENSE:
            with pytest.raises(UserError, match=rf"^{name}: found .*\. Write "):
                cls(**given | {name: value})
            num_checked += 1
    assert num_checked


def test_the_numbers_of_a_tuple_are_checked_one_by_one() -> None:
    with pytest.raises(UserError, match=r"^milestones\[1\]: found nan\. Write 0 to 1\.$"):
        Schedule(epochs=2, batch_clips=8, lr=0.1, milestones=(0.5, math.nan))
    with pytest.raises(UserError, match=r"^rates\[1\]: found 0\. Write 1 to 1,000\.$"):
        TASKS["prp"].parameters(rates=(1, 0))  # type: ignore[call-arg]


def test_a_number_of_400_digits_is_named_by_its_length() -> None:
    with pytest.raises(UserError, match=r"^lr: found a number of about 401 digits\. Write "):
        Schedule(epochs=2, batch_clips=8, lr=10**400)
    with pytest.raises(UserError, match=r"^num_clips: found a number of about 401 digits\. "):
        Evaluation(test=None, num_clips=10**400)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"^seed: found -1\. Write 0 to "):
        Run(recipe=None, seed=-1, parents=())  # type: ignore[arg-type]
