"""Reads YAML as data: no tags, no repeated keys, and `1e-3` is a number."""

import re
from pathlib import Path
from typing import Any

import yaml

from kdbatch.base.errors import UserError

MAX_CONTAINERS = 100_000  # the study's largest file has fifty


class _Loader(yaml.SafeLoader):
    """SafeLoader that refuses a key given twice: YAML itself would keep the last one in silence."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str | int | float):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be a plain word", key_node.start_mark
                )
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads `1e-3` as a text because it has no dot; people mean the number.
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
        hint = f" Experiments here: {_siblings(path)}." if _siblings(path) else ""
        raise UserError(
            f"{path}: cannot be read ({getattr(error, 'strerror', None) or 'not UTF-8 text'}).{hint}"
        ) from error
    try:
        raw = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UserError(
            f"{path}{place}: is not YAML ({getattr(error, 'problem', None) or error})."
        ) from error
    if not isinstance(raw, dict):
        raise UserError(f"{path}: expected fields with values, found {type(raw).__name__}.")
    _check_ends(raw, where=str(path))
    return raw


def _check_ends(raw: dict[str, Any], *, where: str) -> None:
    """An alias (`*name`) may stand for what is elsewhere. One that stands inside what it names has
    no end, and many of many almost none.
    """
    waiting: list[tuple[Any, str, tuple[Any, ...]]] = [(raw, where, ())]
    for _ in range(MAX_CONTAINERS):
        if not waiting:
            return
        value, place, above = waiting.pop()
        if any(value is outer for outer in above):
            raise UserError(
                f"{place}: an alias (*) puts this inside itself. Write out what it should hold."
            )
        inner = (
            [(f".{k}", v) for k, v in value.items()]
            if isinstance(value, dict)
            else [(f"[{i}]", v) for i, v in enumerate(value)]
        )
        waiting += [
            (v, place + step, (*above, value)) for step, v in inner if isinstance(v, dict | list)
        ]
    raise UserError(
        f"{where}: aliases (*) make more than {MAX_CONTAINERS} lists and mappings of it. Write out what they should hold."
    )


def _siblings(path: Path) -> str:
    return ", ".join(str(p) for p in sorted(path.parent.glob("*.yaml")))
