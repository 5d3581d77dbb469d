"""Reads YAML as plain data: no tags, no repeated keys, and `1e-3` is a number."""

import re
from pathlib import Path
from typing import Any

import yaml

from kdbatch.base.errors import UserError
from kdbatch.base.parse import below, shown
from kdbatch.plan.yaml_errors.explain import explain_yaml_error

FIRST_LINES = "Write one field per line, as in: title: My study"
MAX_CONTAINERS = 100_000  # lists and mappings; the study's largest file has fifty


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a repeated key, of which YAML would silently keep the last one."""

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


# YAML 1.1 reads `1e-3` as a string because it has no dot.
_Loader.add_implicit_resolver(
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
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        hint = f" Experiments here: {_siblings(path)}." if _siblings(path) else ""
        if isinstance(error, UnicodeDecodeError):
            hint = " Save it as UTF-8 in your editor."
        raise UserError(f"{path}: cannot be read ({reason}).{hint}") from error
    try:
        raw = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        line, problem = 0, f"is not YAML ({error})."
        if isinstance(error, yaml.YAMLError):
            line, problem = explain_yaml_error(error, text)
        raise UserError(f"{path}:{f'{line}:' if line else ''} {problem}") from error
    if raw is None:
        raise UserError(f"{path}: the file is empty. {FIRST_LINES}")
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected fields with values, found {shown(raw)}. {FIRST_LINES}")
    _check_aliases(raw, where=str(path))
    return raw


def _check_aliases(raw: dict[str, Any], *, where: str) -> None:
    """Refuses aliases (`*name`) that make the data endless or huge.

    An alias inside the value that it names has no end. Nested aliases can multiply to more values
    than memory holds.
    """
    waiting: list[tuple[Any, str, tuple[Any, ...]]] = [(raw, where, ())]
    for _ in range(MAX_CONTAINERS):
        if not waiting:
            return
        value, path, ancestors = waiting.pop()
        if any(value is ancestor for ancestor in ancestors):
            raise UserError(
                f"{path}: an alias (*) puts this inside itself. Write out what it should hold."
            )
        for step, inner in _items(value):
            if isinstance(inner, dict | list):
                waiting.append((inner, below(path, step), (*ancestors, value)))
    raise UserError(
        f"{where}: aliases (*) make more than {MAX_CONTAINERS} lists and mappings of it. "
        "Write out what they should hold."
    )


def _items(value: dict[Any, Any] | list[Any]) -> list[tuple[str, Any]]:
    """(step of the path, value) for each value of a mapping or list."""
    if isinstance(value, dict):
        return [(str(key), inner) for key, inner in value.items()]
    return [(f"[{i}]", inner) for i, inner in enumerate(value)]


def _siblings(path: Path) -> str:
    return ", ".join(str(p) for p in sorted(path.parent.glob("*.yaml")))
