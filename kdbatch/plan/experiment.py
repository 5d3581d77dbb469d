"""Reads an experiment file of `jobs/`: axes, teachers, students, controls, tables and claims."""

import re
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.parse import parse
from kdbatch.base.reading.places import below
from kdbatch.base.reading.shown_values import shown
from kdbatch.plan.axes import (
    Labels,
    axis_labels,
    check_axes_are_used,
    combinations,
    fill,
    kept_labels,
)
from kdbatch.plan.experiment_file import ExperimentFile
from kdbatch.plan.profiles.profile_file import Profile
from kdbatch.plan.specs import Case, Experiment, StudentSpec, TeacherSpec, Timeline, parse_teacher
from kdbatch.plan.validate import check_layers, check_start_and_epoch, validate
from kdbatch.vocab.plans.declarations import Claim, Table


def parse_experiment(path: Path, raw: dict[str, Any], profile: Profile) -> Experiment:
    """The experiment of a file with the values `raw`, at the scale of `profile`.

    Raises:
        UserError: a mistake in the file; the message names the field.
    """
    where = str(path)
    if "seeds" in raw and "name" not in raw:
        raise UserError(
            f"{where}: is a profile, not an experiment. Move it into the folder profiles/ next to "
            f"the experiments, and name it with --profile {path.stem}."
        )
    file = parse(ExperimentFile, raw, where=where)
    if file.name != path.stem:
        raise UserError(
            f"{below(where, 'name')}: found {file.name!r}; the name must be that of the file: "
            f"{path.stem}."
        )
    _check_role_names(file, where=where)
    declared, axes = _axes(file, profile, where=where)
    uses = (file.teachers, file.references, file.student, file.controls, file.timeline)
    file = _without(file, profile.leave_out)
    cases = tuple(
        _case(file, values, names, profile=profile, where=where)
        for values, names in combinations(axes)
    )
    check_layers(cases, where=where)
    experiment = Experiment(
        name=file.name,
        title=file.title,
        source=path.name,
        question=file.question,
        sources=file.sources,
        axes={name: tuple(values) for name, values in axes.items()},
        cases=cases,
        tables=file.tables,
        maps=tuple(replace(m, at=_scale_sizes(m.at, profile)) for m in file.maps),
        claims=tuple(_scale_claim(claim, profile) for claim in file.claims),
        untestable=file.untestable,
        probes=file.probes,
        references=tuple(file.references),
    )
    validate(experiment, {name: tuple(values) for name, values in declared.items()}, where=where)
    check_axes_are_used(declared, uses, where=where)
    return experiment


def _axes(
    file: ExperimentFile, profile: Profile, *, where: str
) -> tuple[dict[str, Labels], dict[str, Labels]]:
    """Every axis with all declared values, and with those that the profile keeps."""
    declared, kept = {}, {}
    for name, raw in file.vary.items():
        place = below(where, f"vary.{name}")
        declared[name] = axis_labels(raw, name=name, profile=profile, where=place)
        kept[name] = kept_labels(declared[name], name=name, profile=profile, where=place)
    return declared, kept


def _without(file: ExperimentFile, roles: Collection[str]) -> ExperimentFile:
    """The file without these controls and probes, and without what names them: controls of the
    same accuracy, rows, tables without rows, maps and claims.
    """
    controls = {role: spec for role, spec in file.controls.items() if role not in roles}
    controls = {
        role: spec
        for role, spec in controls.items()
        if not isinstance(spec, dict) or spec.get("accuracy_of", "") not in roles
    }
    removed = set(file.controls) - set(controls)
    removed |= {f"{role}.{p}" for p in file.probes if p in roles for role in _trained(file)}
    maps = tuple(m for m in file.maps if removed.isdisjoint(m.models))
    removed_names = removed | ({m.id for m in file.maps} - {m.id for m in maps})
    tables = [_without_rows(table, removed) for table in file.tables]
    return replace(
        file,
        controls=controls,
        probes=tuple(probe for probe in file.probes if probe not in roles),
        tables=tuple(table for table in tables if table.rows),
        maps=maps,
        claims=tuple(c for c in file.claims if removed_names.isdisjoint((c.who, *c.than))),
    )


def _trained(file: ExperimentFile) -> tuple[str, ...]:
    return (*file.teachers, *file.references)


def _without_rows(table: Table, roles: Collection[str]) -> Table:
    return replace(table, rows=tuple(role for role in table.rows if role not in roles))


def _check_role_names(file: ExperimentFile, *, where: str) -> None:
    """A role is one network of a case: of two with one name, one would replace the other."""
    defined_at = {"student": "student"}
    for group, roles in (
        ("teachers", file.teachers),
        ("references", file.references),
        ("controls", file.controls),
    ):
        place = below(where, group)
        for role in roles:
            if role in defined_at:
                raise UserError(
                    f"{place}.{role}: the name is taken by {defined_at[role]}. Give each role a "
                    "name of its own."
                )
            if not re.fullmatch(r"[\w-]+", role):
                raise UserError(
                    f"{place}: found {shown(role)}. A role is a word of letters, digits, _ and -, "
                    "for example labels_only."
                )
            defined_at[role] = f"{group}.{role}"


def _scale_teacher(spec: TeacherSpec, profile: Profile) -> TeacherSpec:
    if spec.pretrain is None:
        return spec
    size = spec.pretrain.subset
    return replace(spec, pretrain=replace(spec.pretrain, subset=profile.subsets.get(size, size)))


def _scale_claim(claim: Claim, profile: Profile) -> Claim:
    """The claim with the sizes that the profile puts in place of those it names, also in words."""
    return replace(
        claim,
        says=_scale_words(claim.says, profile),
        value=profile.subsets.get(claim.value, claim.value),
        at=_scale_sizes(claim.at, profile),
        than_at=_scale_sizes(claim.than_at, profile),
    )


def _scale_words(text: str, profile: Profile) -> str:
    """`pretrained on 16 videos` for `pretrained on 30k videos`, where 30k is 16 at this scale."""
    return re.sub(
        r"(?<![\w.])\w+(?!\w|\.\w)", lambda word: profile.subsets.get(word[0], word[0]), text
    )


def _scale_sizes(at: dict[str, str], profile: Profile) -> dict[str, str]:
    return {axis: profile.subsets.get(value, value) for axis, value in at.items()}


def _case(
    file: ExperimentFile,
    values: dict[str, str],
    names: dict[str, Any],
    *,
    profile: Profile,
    where: str,
) -> Case:
    teachers = {}
    for group, specs in (("teachers", file.teachers), ("references", file.references)):
        for role, raw in specs.items():
            role_where = below(where, f"{group}.{role}")
            filled = fill(raw, names, where=role_where)
            spec = parse(TeacherSpec, filled, where=role_where)
            teachers[role] = _scale_teacher(spec, profile)
    role_where = below(where, "student")
    filled = fill(file.student, names, where=role_where)
    students = {"student": parse(StudentSpec, filled, where=role_where)}
    for role, raw in file.controls.items():
        role_where = below(where, f"controls.{role}")
        changes = parse(dict[str, Any], raw, where=role_where)
        filled = fill({**file.student, **changes}, names, where=role_where)
        students[role] = parse(StudentSpec, filled, where=role_where)
    _check_titles(teachers, students, where=where)
    for role, spec in students.items():
        _check_teachers(spec, teachers, where=f"{where}: {role}.teachers")
    place = below(where, "timeline")
    timeline = parse(Timeline, fill(file.timeline, names, where=place), where=place)
    case = Case(values=values, teachers=teachers, students=students, timeline=timeline)
    for role in students:
        check_start_and_epoch(role, case, where=where)
    return case


def _check_titles(
    teachers: dict[str, TeacherSpec], students: dict[str, StudentSpec], *, where: str
) -> None:
    """Tables and figures name roles by their titles. A control without one has the student's."""
    of: dict[str, str] = {}
    for role, spec in (teachers | students).items():
        other = of.setdefault(spec.title, role)
        if other != role:
            raise UserError(
                f"{where}: {role} has the title of {other}, {spec.title!r}, and tables could not "
                f"tell them apart. Write another title: for {role}."
            )


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
        if teacher.is_ready and seed_offset:
            raise UserError(
                f"{where}: {text}: {role} is not trained here, and has no seeds. Write {role}."
            )
        if teacher.outputs and spec.feature_weight:
            raise UserError(
                f"{where}: {role} has outputs and no feature maps. Leave it out, or write "
                "feature_weight: 0."
            )
        seen[role, seed_offset] = text
