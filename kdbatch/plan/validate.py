"""Checks when planning that the names in an experiment's tables, maps and claims exist."""

from collections.abc import Mapping, Sequence

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.reading.places import below
from kdbatch.plan.specs import Case, Experiment, parse_teacher
from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.distillation.feature_layers import check_feature_layers
from kdbatch.vocab.plans.declarations import MAP_CLAIMS, Claim, ClaimKind, Map, Table

# Kind of a claim -> the fields that it needs, and those that it can have; fields that every claim
# has are not listed. Claims about maps have no `at` and no metric, because a map has one case and
# the kind names the metric.
CLAIM_FIELDS: dict[ClaimKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "beats": (("than",), ("at", "than_at", "metric", "averaged")),
    "best_at": (("axis", "value"), ("at", "metric", "averaged")),
    "mean_gain_at_least": (("than", "points"), ("at", "than_at", "metric")),
    "agrees_with_published": (("than", "points", "videos"), ("at",)),
    "fewer_blocks_than": (("than",), ()),
    "more_grid_than": (("than",), ()),
    "blocks_lower_accuracy": ((), ("axis", "at", "metric")),
}
MIN_CORRELATED_MAPS = 4


def validate(experiment: Experiment, declared: dict[str, tuple[str, ...]], *, where: str) -> None:
    """Checks every role, axis and value that tables, maps and claims name.

    `declared` are the axes with all values, also those that the profile leaves out.

    Raises:
        UserError: a name does not exist, or a field is missing or would be ignored.
    """
    if experiment.probes and not any(
        spec.is_pretrained for case in experiment.cases for spec in case.teachers.values()
    ):
        raise UserError(
            f"{below(where, 'probes')}: no teacher has a pretrain, so there are no features to "
            "probe. Leave probes out."
        )
    trained = {role: "" for case in experiment.cases for role in (*case.teachers, *case.students)}
    roles = {role: "" for role in experiment.roles if not role.startswith("map:")}
    map_ids = {drawn.id: "" for drawn in experiment.maps}
    check_names(
        experiment.tables,
        experiment.claims,
        roles=roles,
        axes=experiment.axes,
        declared=declared,
        maps=map_ids,
        where=where,
    )
    for drawn in experiment.maps:
        _check_map(drawn, trained, experiment.axes, where=below(where, f"maps.{drawn.id}"))
    for claim in experiment.claims:
        if claim.kind == "blocks_lower_accuracy":
            _check_has_maps(claim, experiment.maps, where=below(where, f"claims.{claim.id}"))
    check_ids(experiment.tables, experiment.maps, experiment.claims, where=where)


def check_names(
    tables: Sequence[Table],
    claims: Sequence[Claim],
    *,
    roles: Mapping[str, str],
    axes: Mapping[str, tuple[str, ...]],
    declared: Mapping[str, tuple[str, ...]] | None = None,
    maps: Mapping[str, str] | None = None,
    where: str,
) -> None:
    """Checks the roles, axes, values and maps that tables and claims name.

    Raises:
        UserError: a name does not exist, or a field is missing or would be ignored.
    """
    for table in tables:
        _check_table(table, roles, axes, where=below(where, f"tables.{table.id}"))
    for claim in claims:
        known = (maps or {}) if claim.kind in MAP_CLAIMS else roles
        _check_claim(claim, known, declared or axes, where=below(where, f"claims.{claim.id}"))


def check_ids(*named: Sequence[Table | Map | Claim], where: str) -> None:
    """Raise a UserError if two tables, maps or claims have one id."""
    ids = [item.id for items in named for item in items]
    if repeated := sorted({i for i in ids if ids.count(i) > 1}):
        raise UserError(
            f"{where}: the id {repeated[0]!r} is given twice. Tables, maps and claims need ids of "
            "their own."
        )


def check_start_and_epoch(role: str, case: Case, *, where: str) -> None:
    """Checks the roles that a student starts from, and whose accuracy it is to have.

    Raises:
        UserError: there is no such role, or it cannot be used so.
    """
    spec, place = case.students[role], f"{where}: {role}"
    if spec.starts_from:
        place_of_start = f"{place}.starts_from"
        teacher = lookup(case.teachers, spec.starts_from, where=place_of_start)
        if not teacher.is_pretrained:
            raise UserError(
                f"{place_of_start}: {spec.starts_from} has no pretrain, so there are no weights to "
                "start from. Name a teacher that has one, or leave starts_from out."
            )
        for named, kind in ((spec.starts_from, teacher.backbone), (role, spec.backbone)):
            lookup(BACKBONE_SPECS, kind, where=f"{where}: {named}.backbone")
        if teacher.backbone != spec.backbone:
            raise UserError(
                f"{place_of_start}: {spec.starts_from} is {teacher.backbone}, and the student is "
                f"{spec.backbone}. Name a teacher of the student's backbone, or write "
                f"backbone: {teacher.backbone}."
            )
    if spec.accuracy_of:
        other = lookup(case.students, spec.accuracy_of, where=f"{place}.accuracy_of")
        if other.accuracy_of or other.target != spec.target:
            raise UserError(
                f"{place}.accuracy_of: {spec.accuracy_of} has accuracy_of itself, or another "
                "target. Name a student of the same target that keeps its best epoch."
            )


def check_layers(cases: Sequence[Case], *, where: str) -> None:
    """Checks that the layers of each student's feature loss exist in it and in its teachers.

    Raises:
        UserError: one is a layer of no teacher of the file, or a teacher has none of them.
    """
    networks = [network for case in cases for network in case.teachers.values()]
    all_kinds = {network.backbone for network in networks} & BACKBONE_SPECS.keys()
    others = {layer for kind in all_kinds for layer in BACKBONE_SPECS[kind].layers}
    for case in cases:
        for role, spec in case.students.items():
            if not (spec.feature_weight and spec.teachers and spec.feature_layers):
                continue
            place = f"{where}: {role}.teachers"
            names = [parse_teacher(text, where=place)[0] for text in spec.teachers]
            own, *taught = (
                lookup(BACKBONE_SPECS, network.backbone, where=f"{where}: {name}.backbone")
                for name, network in ((role, spec), *((n, case.teachers[n]) for n in names))
            )
            try:
                check_feature_layers(
                    spec.feature_layers,
                    student=(own.title, own.layers),
                    teachers=[(teacher.title, teacher.layers) for teacher in taught],
                    others=others,
                )
            except UserError as error:
                raise UserError(f"{where}: {role}.{error}") from error


def _check_table(
    table: Table, roles: Mapping[str, str], axes: Mapping[str, tuple[str, ...]], *, where: str
) -> None:
    for role in table.rows:
        lookup(roles, role, where=f"{where}.rows")
    for axis in table.columns:
        lookup(axes, axis, where=f"{where}.columns")
    if sorted(table.columns) != sorted(axes):
        raise UserError(
            f"{where}.columns: a column needs every axis once. Write columns: [{', '.join(axes)}]."
        )


def _check_map(
    drawn: Map, roles: dict[str, str], axes: dict[str, tuple[str, ...]], *, where: str
) -> None:
    if not 1 <= len(drawn.models) <= 2:
        raise UserError(f"{where}.models: one role (a self map) or two, found {len(drawn.models)}.")
    if drawn.untrained and len(drawn.models) > 1:
        raise UserError(f"{where}.models: an untrained map has one role. Write one.")
    for role in drawn.models:
        lookup(roles, role, where=f"{where}.models")
    for axis in drawn.at:
        lookup(axes, axis, where=f"{where}.at")
    for axis, values in axes.items():
        if axis not in drawn.at:
            raise UserError(
                f"{where}.at: the axis {axis!r} is missing. A map is drawn for one case: write "
                f"{axis}: and one of {', '.join(values)}."
            )
        value = drawn.at[axis]
        lookup(dict.fromkeys(values, ""), value, where=f"{where}.at.{axis}")


def _check_claim(
    claim: Claim, known: Mapping[str, str], axes: Mapping[str, tuple[str, ...]], *, where: str
) -> None:
    """`axes` have all declared values: a claim may name one that the profile leaves out."""
    _check_claim_fields(claim, where=where)
    for role in (claim.who, *claim.than):
        lookup(known, role, where=where)
    for field_name, at in (("at", claim.at), ("than_at", claim.than_at)):
        for axis, value in at.items():
            values = lookup(axes, axis, where=f"{where}.{field_name}")
            lookup(dict.fromkeys(values, ""), value, where=f"{where}.{field_name}.{axis}")
    if claim.axis:
        lookup(axes, claim.axis, where=f"{where}.axis")
    if claim.kind == "best_at":
        values = lookup(axes, claim.axis, where=f"{where}.axis")
        lookup(dict.fromkeys(values, ""), claim.value, where=f"{where}.value")


def _check_has_maps(claim: Claim, maps: tuple[Map, ...], *, where: str) -> None:
    num_maps = sum(drawn.models == (claim.who,) and not drawn.untrained for drawn in maps)
    if num_maps < MIN_CORRELATED_MAPS:
        raise UserError(
            f"{where}.who: {num_maps} maps of {claim.who}, and a correlation needs at least "
            f"{MIN_CORRELATED_MAPS}. Add maps with models: [{claim.who}], each of another case."
        )


def _check_claim_fields(claim: Claim, *, where: str) -> None:
    """Checks that a claim has the fields that its kind needs, and none that it would ignore."""
    needed, allowed = CLAIM_FIELDS[claim.kind]
    bare = Claim(
        id=claim.id,
        says=claim.says,
        kind=claim.kind,
        who=claim.who,
        control=claim.control,
        negated=claim.negated,
    )
    given = [name for name, value in vars(bare).items() if getattr(claim, name) != value]
    if missing := [name for name in needed if name not in given]:
        raise UserError(f"{where}.{missing[0]}: is missing or empty, and {claim.kind} needs it.")
    if unused := [name for name in given if name not in (*needed, *allowed)]:
        raise UserError(
            f"{where}.{unused[0]}: {claim.kind} does not use it. Leave it out; {claim.kind} uses "
            f"{', '.join((*needed, *allowed))}."
        )
