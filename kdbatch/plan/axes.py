"""The axes of an experiment: their values, and the `$name`s that each case fills in."""

import itertools
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean, lookup
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import Limits
from kdbatch.base.reading.places import below
from kdbatch.base.reading.shown_values import shown
from kdbatch.plan.profiles.profile_file import Profile

_LABEL = Limits(max_length=200)
Labels = dict[str, dict[str, Any]]
"""Label of a value -> the names that it sets, with their values: texts stay texts, and numbers
numbers.
"""


def axis_labels(raw: Any, *, name: str, profile: Profile, where: str) -> Labels:
    """All declared values of an axis, with the sizes that the profile puts in place of theirs.

    A value of a list sets the axis' own name. A named case sets that name to its label and each of
    its own fields, or, where it has a value in place of fields, to that value.
    """
    if isinstance(raw, Mapping) and raw:
        cases = {}
        for label, value in raw.items():
            fields = value if isinstance(value, Mapping) else {name: value}
            own_fields = parse(dict[str, Any], fields, where=below(where, str(label)))
            cases[str(label)] = {name: label, **own_fields}
        return cases
    if not isinstance(raw, list | tuple) or not raw or not all(map(_is_value, raw)):
        is_word = isinstance(raw, str) and raw.isalnum()  # other texts may need quotes
        example = raw if is_word else shown(raw) if _is_value(raw) else "VALUE, VALUE"
        raise UserError(
            f"{where}: expected a list of texts or numbers, or named cases, found {shown(raw)}. "
            f"Write {name}: [{example}]."
        )
    texts = [_label(value) for value in raw]
    if repeated := next((text for text in texts if texts.count(text) > 1), None):
        raise UserError(f"{where}: {repeated[:60]} is given twice. Name each value once.")
    labels = {}
    for text, value in zip(texts, raw, strict=True):
        scaled = profile.subsets.get(text, value)
        labels[_label(scaled)] = {name: scaled}
    return labels


def kept_labels(labels: Labels, *, name: str, profile: Profile, where: str) -> Labels:
    """The labels without those that the profile leaves out; each is a short line of a title."""
    for label in labels:
        _LABEL.check(label, where=where)
    kept = profile.keep.get(name, tuple(labels))
    if missing := [k for k in kept if k not in labels]:
        raise UserError(
            f"{where}: the profile keeps {shown(missing[0])}, which is no value of this axis."
            f"{did_you_mean(missing[0], labels)} Values: {', '.join(labels)}."
        )
    if not kept:
        raise UserError(
            f"{where}: the profile keeps no value of this axis. Name one or more of "
            f"{', '.join(labels)} below its keep.{name}."
        )
    return {label: labels[label] for label in labels if label in kept}


def combinations(axes: Mapping[str, Labels]) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """(label of each axis, names to fill in) for every combination, first axis outermost."""
    found = []
    for labels in itertools.product(*axes.values()):
        chosen = dict(zip(axes, labels, strict=True))
        names: dict[str, Any] = {}
        for axis, label in chosen.items():
            names |= axes[axis][label]
        found.append((chosen, names))
    return found


def fill(raw: Any, names: Mapping[str, Any], *, where: str) -> Any:
    """Replaces every text `$name` by the value that this case gives to the name.

    Raises:
        UserError: no axis sets the name, or the `$name` is a part of a longer text.
    """
    if isinstance(raw, str):
        return _fill_text(raw, names, where)
    if isinstance(raw, Mapping):
        return {key: fill(value, names, where=below(where, str(key))) for key, value in raw.items()}
    if isinstance(raw, list | tuple):
        return [fill(value, names, where=below(where, f"[{i}]")) for i, value in enumerate(raw)]
    return raw


def check_axes_are_used(axes: Mapping[str, Labels], uses: Any, *, where: str) -> None:
    """Checks that every axis sets a `$name` that the parts of the file in `uses` have.

    Raises:
        UserError: an axis, or a field of a named case, is used nowhere: the cases that it tells
            apart would be the same runs.
    """
    used = {text[1:] for text in _texts(uses) if text.startswith("$")}
    for axis, labels in axes.items():
        place = below(where, f"vary.{axis}")
        if used.isdisjoint(name for names in labels.values() for name in names):
            raise UserError(
                f"{place}: no teacher, reference, student or control has ${axis}, so its values "
                f"would be the same runs. Write ${axis} as the value of the field that it varies, "
                f"or remove {axis} from vary, tables, maps and claims."
            )
        for label, names in labels.items():
            if unused := [name for name in names if name != axis and name not in used]:
                raise UserError(
                    f"{place}.{label}.{unused[0]}: no teacher, reference, student or control has "
                    f"${unused[0]}. Write it as the value of the field that it varies, or leave "
                    f"{unused[0]} out.{did_you_mean(unused[0], used - set(names))}"
                )


def _fill_text(text: str, names: Mapping[str, Any], where: str) -> Any:
    if text.startswith("$"):
        if text[1:] in names:
            return names[text[1:]]
        return lookup(names, text[1:], where=f"{where}: {' '.join(text[:60].split())}")
    part = next((name for name in re.findall(r"\$(\w+)", text) if name in names), None)
    if part:
        raise UserError(
            f"{where}: found {shown(text)}, but a $name is only replaced where it is the whole "
            f"value. Leave ${part} out, or write it alone."
        )
    return text


def _is_value(raw: Any) -> bool:
    return isinstance(raw, str | int | float)


def _label(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _texts(raw: Any) -> Iterator[str]:
    """Every text in nested lists and mappings."""
    if isinstance(raw, str):
        yield raw
    elif isinstance(raw, Mapping):
        for value in raw.values():
            yield from _texts(value)
    elif isinstance(raw, list | tuple):
        for value in raw:
            yield from _texts(value)
