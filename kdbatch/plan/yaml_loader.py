"""Reads YAML as plain data: no tags, no repeated keys, and `1e-3` is a number."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from kdbatch.base.errors import UserError
from kdbatch.base.reading.places import below
from kdbatch.base.reading.raw_values import check_raw
from kdbatch.base.reading.regular_files import read_text
from kdbatch.base.reading.shown_values import shortened, shown
from kdbatch.plan.yaml_errors.explain import explain_yaml_error

FIRST_LINES = "Write one field per line, as in: title: My study"
MAX_CHARACTERS = 3_000_000  # of a file; they are read in seconds
# A stack holds some 300. What is deeper than MAX_DEPTH is refused once it is loaded, by its place.
MAX_LOADED_DEPTH = 200
MAX_VALUES = 100_000  # in all lists and mappings; the study's largest file has hundreds


class _Strict(yaml.constructor.SafeConstructor):
    """Refuses a repeated key, of which YAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        def refuse(problem: str, key_node: yaml.Node) -> yaml.constructor.ConstructorError:
            return yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)

        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float):
                raise refuse("a key must be a string or a number", key_node)
            if key in seen:
                raise refuse(f"the key {key!r} is given twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """The value of a node; what its tag forbids, such as `!!bool maybe`, is an error of YAML,
        where PyYAML lets exceptions of Python through.
        """
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, AttributeError, ArithmeticError, TypeError) as error:
            found = shown(node.value) if isinstance(node, yaml.ScalarNode) else "its value"
            problem = f"{found} is not of the type {node.tag.rpartition(':')[2]}"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


class _Loader(_Strict, yaml.SafeLoader):
    """PyYAML's own parser, whose errors say where a mistake begins."""


_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # not every build has libyaml


class _FastLoader(_Strict, _PARSER):
    """libyaml's parser: the same values, nine times as fast."""


for _loader in (_Loader, _FastLoader):
    # YAML 1.1 reads `1e-3` as a string because it has no dot.
    _loader.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
        list("-+0123456789"),
    )


def load_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UserError: the file is missing, unreadable, not YAML or not a mapping.
    """
    try:
        text = read_text(path)
    except OSError as error:
        reason = error.strerror
        is_missing = isinstance(error, FileNotFoundError)
        hint = f" Experiments here: {_siblings(path)}." if is_missing and _siblings(path) else ""
        raise UserError(f"{path}: cannot be read ({reason}).{hint}") from error
    if len(text) > MAX_CHARACTERS:
        raise UserError(
            f"{path}: has {len(text):,} characters, and files that are read have at most "
            f"{MAX_CHARACTERS:,}. Name the file of an experiment."
        )
    try:
        raw = _parse(text)
    except RecursionError as error:
        raise UserError(f"{path}: lists are nested too deep. Close each [ and {{.") from error
    except yaml.YAMLError as error:
        line, problem = explain_yaml_error(error, text)
        place = f"{path}:{f'{line}:' if line else ''}"
        raise UserError(f"{place} {shortened(problem)}") from error
    if raw is None:
        raise UserError(f"{path}: the file is empty. {FIRST_LINES}")
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected fields with values, found {shown(raw)}. {FIRST_LINES}")
    _check_aliases(raw, where=str(path))
    check_raw(raw, where=str(path))
    return raw


def _parse(text: str) -> Any:
    with suppress(yaml.YAMLError):
        _check_depth(text)
        return yaml.load(text, Loader=_FastLoader)
    return yaml.load(text, Loader=_Loader)


def _check_depth(text: str) -> None:
    """Looks how deep lists and mappings are nested before a loader does. libyaml's composer ends
    the process where its recursion has used up the stack, and PyYAML's scanner takes a minute for
    a line of 100,000 brackets; libyaml's events come one by one.

    Raises:
        RecursionError: too deep to be loaded.
    """
    depth = 0
    for event in yaml.parse(text, Loader=_FastLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        if depth > MAX_LOADED_DEPTH:
            raise RecursionError
        depth -= isinstance(event, yaml.CollectionEndEvent)


def _check_aliases(raw: dict[str, Any], *, where: str) -> None:
    """Refuses aliases (`*name`) that make the data endless or huge.

    An alias inside the value that it names has no end. Nested aliases can multiply to more values
    than memory holds.
    """
    waiting: list[tuple[Any, str, tuple[Any, ...]]] = [(raw, where, ())]
    num_values = 0
    while waiting and num_values <= MAX_VALUES:
        value, path, ancestors = waiting.pop()
        num_values += 1 + len(value)
        if any(value is ancestor for ancestor in ancestors):
            raise UserError(
                f"{path}: an alias (*) puts this inside itself. Write out what it should hold."
            )
        for step, inner in _items(value):
            if isinstance(inner, dict | list):
                waiting.append((inner, below(path, step), (*ancestors, value)))
    if waiting or num_values > MAX_VALUES:
        raise UserError(
            f"{where}: aliases (*) make more than {MAX_VALUES:,} values of it. "
            "Write out what they should hold."
        )


def _items(value: dict[Any, Any] | list[Any]) -> list[tuple[str, Any]]:
    """(step of the path, value) for each value of a mapping or list."""
    if isinstance(value, dict):
        return [
            (key if isinstance(key, str) else shown(key), inner) for key, inner in value.items()
        ]
    return [(f"[{i}]", inner) for i, inner in enumerate(value)]


def _siblings(path: Path) -> str:
    return ", ".join(str(p) for p in sorted(path.parent.glob("*.yaml")))
