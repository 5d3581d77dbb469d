"""Reads an experiment file of `jobs/`: axes, teachers, students, controls, tables and claims."""

import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean, lookup
from kdbatch.base.parse import parse
from kdbatch.plan.profiles import Profile
from kdbatch.plan.specs import Case, Experiment, Probe, StudentSpec, TeacherSpec, parse_teacher
from kdbatch.plan.validate import validate
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.vocab.plans import Claim, Map, Table


@dataclass(frozen=True, kw_only=True)
class _File:
    """The fields of the file before each `$name` is replaced.

    An axis is a list, or a mapping of named cases that set several names each. `probes` are
    measured with the features of every pretrained teacher before fine-tuning; their roles are
    `T1.retrieval` and `T1.linear`.
    """

    name: str
    title: str
    vary: dict[str, Any]
    teachers: dict[str, Any]
    student: dict[str, Any]
    controls: dict[str, Any] = field(default_factory=dict)
    references: dict[str, Any] = field(default_factory=dict)
    probes: tuple[Probe, ...] = ()
    tables: tuple[Table, ...] = ()
    maps: tuple[Map, ...] = ()
    claims: tuple[Claim, ...] = ()


def load_experiment(path: Path, profile: Profile) -> Experiment:
    """Read an experiment at the scale of `profile`.

    Raises:
        UserError: a mistake in the file; the message names the field.
    """
    where = str(path)
    file = parse(_File, load_yaml(path), where=where)
    if file.name != path.stem:
        raise UserError(
            f"{where}.name: found {file.name!r}; the name must be that of the file: {path.stem}."
        )
    _check_role_names(file, where=where)
    file = _without(file, profile.leave_out)
    axes = {
        name: _axis_values(raw, name=name, profile=profile, where=f"{where}.vary.{name}")
        for name, raw in file.vary.items()
    }
    cases = tuple(
        _case(file, values, names, profile=profile, where=where)
        for values, names in _combinations(axes)
    )
    experiment = Experiment(
        name=file.name,
        title=file.title,
        source=path.name,
        axes={name: tuple(values) for name, values in axes.items()},
        cases=cases,
        tables=file.tables,
        maps=tuple(replace(m, at=_scale_sizes(m.at, profile)) for m in file.maps),
        claims=tuple(_scale_claim(claim, profile) for claim in file.claims),
        probes=file.probes,
        references=tuple(file.references),
    )
    declared = {
        name: tuple(_labels(raw, name=name, profile=profile, where=f"{where}.vary.{name}"))
        for name, raw in file.vary.items()
    }
    validate(experiment, declared, where=where)
    return experiment


def _without(file: _File, roles: Collection[str]) -> _File:
    """The file without these controls, and without the rows, maps and claims that name them."""
    removed = set(roles) & set(file.controls)
    maps = tuple(m for m in file.maps if removed.isdisjoint(m.models))
    removed_maps = {m.id for m in file.maps} - {m.id for m in maps}
    removed_names = removed | removed_maps
    return replace(
        file,
        controls={role: spec for role, spec in file.controls.items() if role not in removed},
        tables=tuple(_without_rows(table, removed) for table in file.tables),
        maps=maps,
        claims=tuple(c for c in file.claims if removed_names.isdisjoint((c.who, *c.than))),
    )


def _without_rows(table: Table, roles: Collection[str]) -> Table:
    return replace(table, rows=tuple(role for role in table.rows if role not in roles))


def _check_role_names(file: _File, *, where: str) -> None:
    """A role is one network of a case: of two with one name, one would replace the other."""
    defined_at = {"student": "student"}
    for group, roles in (
        ("teachers", file.teachers),
        ("references", file.references),
        ("controls", file.controls),
    ):
        for role in roles:
            if role in defined_at:
                raise UserError(
                    f"{where}.{group}.{role}: the name is taken by {defined_at[role]}. Give each "
                    "role a name of its own."
                )
            if not re.fullmatch(r"[\w-]+", role):
                raise UserError(
                    f"{where}.{group}: found {role!r}. A role is a word of letters, digits, _ and "
                    "-, for example labels_only."
                )
            defined_at[role] = f"{group}.{role}"


def _scale_teacher(spec: TeacherSpec, profile: Profile) -> TeacherSpec:
    if spec.pretrain is None:
        return spec
    size = spec.pretrain.subset
    return replace(spec, pretrain=replace(spec.pretrain, subset=profile.subsets.get(size, size)))


def _scale_claim(claim: Claim, profile: Profile) -> Claim:
    """The claim with the sizes that the profile puts in place of those it names."""
    return replace(
        claim,
        value=profile.subsets.get(claim.value, claim.value),
        at=_scale_sizes(claim.at, profile),
        than_at=_scale_sizes(claim.than_at, profile),
    )


def _scale_sizes(at: dict[str, str], profile: Profile) -> dict[str, str]:
    return {axis: profile.subsets.get(value, value) for axis, value in at.items()}


def _axis_values(raw: Any, *, name: str, profile: Profile, where: str) -> dict[str, dict[str, str]]:
    """`_labels` without those that the profile leaves out."""
    values = _labels(raw, name=name, profile=profile, where=where)
    kept = profile.keep.get(name, tuple(values))
    if missing := [k for k in kept if k not in values]:
        raise UserError(
            f"{where}: the profile keeps {missing[0]!r}, which is no value of this axis."
            f"{did_you_mean(missing[0], values)}"
        )
    return {label: values[label] for label in values if label in kept}


def _labels(raw: Any, *, name: str, profile: Profile, where: str) -> dict[str, dict[str, str]]:
    """Label -> the names that it sets.

    A value of a list sets the axis' own name. A named case sets that name and its own fields.
    """
    if isinstance(raw, Mapping):
        labels = {}
        for label, fields in raw.items():
            own_fields = parse(dict[str, Any], fields, where=f"{where}.{label}")
            labels[str(label)] = {name: str(label), **own_fields}
        return labels
    if isinstance(raw, list | tuple) and raw and all(isinstance(v, str | int | float) for v in raw):
        values = [profile.subsets.get(str(value), str(value)) for value in raw]
        return {value: {name: value} for value in values}
    raise UserError(f"{where}: expected a list of values or named cases, found {raw!r}.")


def _combinations(
    axes: dict[str, dict[str, dict[str, str]]],
) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """(value of each axis, names to fill in) for every combination, first axis outermost."""
    combinations = []
    for labels in itertools.product(*axes.values()):
        values = dict(zip(axes, labels, strict=True))
        names: dict[str, Any] = {}
        for axis, label in values.items():
            names |= axes[axis][label]
        combinations.append((values, names))
    return combinations


def _case(
    file: _File, values: dict[str, str], names: dict[str, Any], *, profile: Profile, where: str
) -> Case:
    teachers = {}
    for group, specs in (("teachers", file.teachers), ("references", file.references)):
        for role, raw in specs.items():
            filled = _fill(raw, names, where=f"{where}.{group}.{role}")
            spec = parse(TeacherSpec, filled, where=f"{where}.{group}.{role}")
            teachers[role] = _scale_teacher(spec, profile)
    filled = _fill(file.student, names, where=f"{where}.student")
    students = {"student": parse(StudentSpec, filled, where=f"{where}.student")}
    for role, raw in file.controls.items():
        role_where = f"{where}.controls.{role}"
        changes = parse(dict[str, Any], raw, where=role_where)
        filled = _fill({**file.student, **changes}, names, where=role_where)
        students[role] = parse(StudentSpec, filled, where=role_where)
    for role, spec in students.items():
        _check_teachers(spec, teachers, where=f"{where}: {role}.teachers")
    return Case(values=values, teachers=teachers, students=students)


def _check_teachers(spec: StudentSpec, teachers: dict[str, TeacherSpec], *, where: str) -> None:
    """Each teacher exists, is named once, and was trained on the student's own classes."""
    seen: dict[tuple[str, int], str] = {}
    for text in spec.teachers:
        role, seed_offset = parse_teacher(text, where=where)
        teacher = lookup(teachers, role, where=where)
        if (role, seed_offset) in seen:
            raise UserError(
                f"{where}: {seen[role, seed_offset]} and {text} are one teacher. Name each once; "
                f"{role}@1 is {role} with another seed."
            )
        if teacher.target != spec.target:
            raise UserError(
                f"{where}: {role} predicts the classes of {teacher.target}, its student those of "
                f"{spec.target}. Give both one target."
            )
        seen[role, seed_offset] = text


def _fill(raw: Any, names: dict[str, Any], *, where: str) -> Any:
    """Replaces every string `$name` by the value that this case gives to the name."""
    if isinstance(raw, str) and raw.startswith("$"):
        return lookup(names, raw[1:], where=f"{where}: {raw}")
    if isinstance(raw, Mapping):
        return {key: _fill(value, names, where=f"{where}.{key}") for key, value in raw.items()}
    if isinstance(raw, list | tuple):
        return [_fill(value, names, where=f"{where}[{i}]") for i, value in enumerate(raw)]
    return raw
