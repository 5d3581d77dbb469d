"""What tables, maps and claims of an experiment file name must exist: a slip is found when it is
planned, not in the report.
"""

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.plan.specs import Experiment
from kdbatch.vocab.plans import Claim, ClaimKind, Map, Table

# Beside what every claim has: the fields that a kind needs, and those that it also reads. A map has
# its own case and one metric.
_CLAIM_FIELDS: dict[ClaimKind, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "beats": (("than",), ("at", "than_at", "metric")),
    "best_at": (("axis", "value"), ("at", "metric")),
    "mean_gain_at_least": (("than", "points"), ("at", "than_at", "metric")),
    "fewer_blocks_than": (("than",), ()),
}


def validate(experiment: Experiment, declared: dict[str, tuple[str, ...]], *, where: str) -> None:
    """Every role, axis and value that is named. `declared` are the axes with the values that the
    profile leaves out, too.

    Raises:
        UserError: a name that does not exist, or a field that is missing or not looked at.
    """
    if experiment.probes and not any(
        spec.pretrain for case in experiment.cases for spec in case.teachers.values()
    ):
        raise UserError(
            f"{where}.probes: no teacher has a pretrain, so there are no features to ask. Leave probes out."
        )
    trained = {role: "" for case in experiment.cases for role in (*case.teachers, *case.students)}
    roles = {role: "" for role in experiment.roles if not role.startswith("map:")}
    for table in experiment.tables:
        _check_table(table, roles, experiment.axes, where=f"{where}.tables.{table.id}")
    for drawn in experiment.maps:
        _check_map(drawn, trained, experiment.axes, where=f"{where}.maps.{drawn.id}")
    for claim in experiment.claims:
        known = {m.id: "" for m in experiment.maps} if claim.kind == "fewer_blocks_than" else roles
        _check_claim(claim, known, declared, where=f"{where}.claims.{claim.id}")
    ids = [x.id for x in (*experiment.tables, *experiment.maps, *experiment.claims)]
    if twice := sorted({i for i in ids if ids.count(i) > 1}):
        raise UserError(
            f"{where}: the id {twice[0]!r} is given twice. Tables, maps and claims need ids of their own."
        )


def _check_table(
    table: Table, roles: dict[str, str], axes: dict[str, tuple[str, ...]], *, where: str
) -> None:
    for role in table.rows:
        lookup(roles, role, where=f"{where}.rows")
    for axis in table.columns:
        lookup(axes, axis, where=f"{where}.columns")
    if sorted(table.columns) != sorted(axes):
        raise UserError(f"{where}.columns: a column needs every axis once: {', '.join(axes)}.")


def _check_map(
    drawn: Map, roles: dict[str, str], axes: dict[str, tuple[str, ...]], *, where: str
) -> None:
    if not 1 <= len(drawn.models) <= 2:
        raise UserError(f"{where}.models: one role (a self map) or two, found {len(drawn.models)}.")
    for role in drawn.models:
        lookup(roles, role, where=f"{where}.models")
    for axis in drawn.at:
        lookup(axes, axis, where=f"{where}.at")
    for axis, values in axes.items():
        lookup(
            dict.fromkeys(values, ""),
            lookup(drawn.at, axis, where=f"{where}.at"),
            where=f"{where}.at.{axis}",
        )


def _check_claim(
    claim: Claim, known: dict[str, str], axes: dict[str, tuple[str, ...]], *, where: str
) -> None:
    """`axes` hold the values that the profile leaves out, too: a claim about one of them waits, it
    is no slip.
    """
    _check_claim_fields(claim, where=where)
    for role in (claim.who, *claim.than):
        lookup(known, role, where=where)
    for part, at in (("at", claim.at), ("than_at", claim.than_at)):
        for axis, value in at.items():
            lookup(
                dict.fromkeys(lookup(axes, axis, where=f"{where}.{part}"), ""),
                value,
                where=f"{where}.{part}.{axis}",
            )
    if claim.kind == "best_at":
        values = lookup(axes, claim.axis, where=f"{where}.axis")
        lookup(dict.fromkeys(values, ""), claim.value, where=f"{where}.value")


def _check_claim_fields(claim: Claim, *, where: str) -> None:
    """A field that the claim's kind does not look at would be ignored, one that it needs be read as
    nothing or 0.
    """
    needed, allowed = _CLAIM_FIELDS[claim.kind]
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
            f"{where}.{unused[0]}: {claim.kind} does not look at it. Leave it out; it reads {', '.join((*needed, *allowed))}."
        )
