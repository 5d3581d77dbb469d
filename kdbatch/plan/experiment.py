"""One file of `jobs/`, read: what varies, who teaches, who learns, which controls stand beside,
what is drawn and claimed.
"""

import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean, lookup
from kdbatch.base.parse import parse
from kdbatch.plan.profile import Profile
from kdbatch.plan.specs import Case, Experiment, Probe, StudentSpec, TeacherSpec, parse_teacher
from kdbatch.plan.validate import validate
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.vocab.plans import Claim, Map, Table


@dataclass(frozen=True, kw_only=True)
class _File:
    """The file's fields before `$name` is filled in. An axis is a list, or named cases that each
    set several names.

    `probes` are what every pretrained teacher's features are asked before they are fine-tuned;
    roles are `T1.retrieval`, `T1.linear`.
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
        UserError: any mistake in the file, named by its place.
    """
    where = str(path)
    file = parse(_File, load_yaml(path), where=where)
    if file.name != path.stem:
        raise UserError(
            f"{where}.name: found {file.name!r}; the name is that of the file: {path.stem}."
        )
    _check_role_names(file, where=where)
    file = _without(file, profile.leave_out)
    axes = {
        name: _axis_values(raw, name=name, profile=profile, where=f"{where}.vary.{name}")
        for name, raw in file.vary.items()
    }
    cases = tuple(_case(file, values, profile=profile, where=where) for values in _product(axes))
    experiment = Experiment(
        name=file.name,
        title=file.title,
        source=path.name,
        axes={name: tuple(values) for name, values in axes.items()},
        cases=cases,
        tables=file.tables,
        maps=tuple(
            replace(m, at={axis: profile.subsets.get(value, value) for axis, value in m.at.items()})
            for m in file.maps
        ),
        claims=tuple(_at_scale(claim, profile) for claim in file.claims),
        probes=file.probes,
        references=tuple(file.references),
    )
    declared = {
        name: _labels(raw, name=name, profile=profile, where=f"{where}.vary.{name}")
        for name, raw in file.vary.items()
    }
    validate(experiment, {name: tuple(values) for name, values in declared.items()}, where=where)
    return experiment


def _without(file: _File, roles: Collection[str]) -> _File:
    """The file without these controls, and without the rows, maps and claims that speak of them."""
    gone = set(roles) & set(file.controls)
    maps = tuple(m for m in file.maps if gone.isdisjoint(m.models))
    gone_maps = {m.id for m in file.maps} - {m.id for m in maps}
    return replace(
        file,
        controls={role: spec for role, spec in file.controls.items() if role not in gone},
        tables=tuple(
            replace(t, rows=tuple(role for role in t.rows if role not in gone)) for t in file.tables
        ),
        maps=maps,
        claims=tuple(c for c in file.claims if (gone | gone_maps).isdisjoint((c.who, *c.than))),
    )


def _check_role_names(file: _File, *, where: str) -> None:
    """A role is one network of a case. Under a name given twice one would silently take the place
    of the other.
    """
    places = {"student": "student"}
    for group, roles in (
        ("teachers", file.teachers),
        ("references", file.references),
        ("controls", file.controls),
    ):
        for role in roles:
            if role in places:
                raise UserError(
                    f"{where}.{group}.{role}: the name is taken by {places[role]}. Give each role a name of its own."
                )
            if not re.fullmatch(r"[\w-]+", role):
                raise UserError(
                    f"{where}.{group}: found {role!r}. A role is a word of letters, digits, _ and -, as labels_only."
                )
            places[role] = f"{group}.{role}"


def _teacher_at_scale(spec: TeacherSpec, profile: Profile) -> TeacherSpec:
    if spec.pretrain is None:
        return spec
    return replace(
        spec,
        pretrain=replace(
            spec.pretrain, subset=profile.subsets.get(spec.pretrain.subset, spec.pretrain.subset)
        ),
    )


def _at_scale(claim: Claim, profile: Profile) -> Claim:
    """Sizes that the profile replaces are replaced in what the claim names, too."""

    def scaled(at: dict[str, str]) -> dict[str, str]:
        return {axis: profile.subsets.get(value, value) for axis, value in at.items()}

    return replace(
        claim,
        value=profile.subsets.get(claim.value, claim.value),
        at=scaled(claim.at),
        than_at=scaled(claim.than_at),
    )


def _axis_values(raw: Any, *, name: str, profile: Profile, where: str) -> dict[str, dict[str, str]]:
    """As `_labels`, but for those that the profile leaves out."""
    values = _labels(raw, name=name, profile=profile, where=where)
    kept = profile.keep.get(name, tuple(values))
    if missing := [k for k in kept if k not in values]:
        raise UserError(
            f"{where}: the profile keeps {missing[0]!r}, which is no value of this axis.{did_you_mean(missing[0], values)}"
        )
    return {label: values[label] for label in values if label in kept}


def _labels(raw: Any, *, name: str, profile: Profile, where: str) -> dict[str, dict[str, str]]:
    """label -> the names that it sets. A list sets the axis' own name, named cases set theirs as
    well.
    """
    if isinstance(raw, Mapping):
        return {
            str(label): {
                name: str(label),
                **parse(dict[str, Any], fields, where=f"{where}.{label}"),
            }
            for label, fields in raw.items()
        }
    if isinstance(raw, list | tuple) and raw and all(isinstance(v, str | int | float) for v in raw):
        labels = dict.fromkeys(profile.subsets.get(str(v), str(v)) for v in raw)
        return {label: {name: label} for label in labels}
    raise UserError(f"{where}: expected a list of values or named cases, found {raw!r}.")


def _product(
    axes: dict[str, dict[str, dict[str, str]]],
) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """(labels, names to fill in) for every combination, first axis outermost."""
    cases = []
    for labels in itertools.product(*axes.values()):
        names: dict[str, Any] = {}
        for axis, label in zip(axes, labels, strict=True):
            names |= axes[axis][label]
        cases.append((dict(zip(axes, labels, strict=True)), names))
    return cases


def _case(
    file: _File, values: tuple[dict[str, str], dict[str, Any]], *, profile: Profile, where: str
) -> Case:
    labels, names = values

    def fill(raw: Any, place: str) -> Any:
        return _fill(raw, names, where=f"{where}.{place}")

    teachers = {
        role: _teacher_at_scale(
            parse(TeacherSpec, fill(raw, f"{group}.{role}"), where=f"{where}.{group}.{role}"),
            profile,
        )
        for group, specs in (("teachers", file.teachers), ("references", file.references))
        for role, raw in specs.items()
    }
    students = {
        "student": parse(StudentSpec, fill(file.student, "student"), where=f"{where}.student")
    }
    for role, raw in file.controls.items():
        place = f"{where}.controls.{role}"
        changes = parse(dict[str, Any], raw, where=place)
        students[role] = parse(
            StudentSpec, fill({**file.student, **changes}, f"controls.{role}"), where=place
        )
    for role, spec in students.items():
        _check_teachers(spec, teachers, where=f"{where}: {role}.teachers")
    return Case(values=labels, teachers=teachers, students=students)


def _check_teachers(spec: StudentSpec, teachers: dict[str, TeacherSpec], *, where: str) -> None:
    """Each exists, is named once, and was trained on the student's own classes."""
    seen: dict[tuple[str, int], str] = {}
    for word in spec.teachers:
        role, ahead = parse_teacher(word, where=where)
        teacher = lookup(teachers, role, where=where)
        if (role, ahead) in seen:
            raise UserError(
                f"{where}: {seen[role, ahead]} and {word} are one teacher. Name each once; {role}@1 is {role} with another seed."
            )
        if teacher.target != spec.target:
            raise UserError(
                f"{where}: {role} knows the classes of {teacher.target}, its student learns {spec.target}. Give both one target."
            )
        seen[role, ahead] = word


def _fill(raw: Any, names: dict[str, Any], *, where: str) -> Any:
    """`$name` becomes the value that this case gives the name; nothing else is looked at."""
    if isinstance(raw, str) and raw.startswith("$"):
        return lookup(names, raw[1:], where=f"{where}: {raw}")
    if isinstance(raw, Mapping):
        return {key: _fill(value, names, where=f"{where}.{key}") for key, value in raw.items()}
    if isinstance(raw, list | tuple):
        return [_fill(value, names, where=f"{where}[{i}]") for i, value in enumerate(raw)]
    return raw
