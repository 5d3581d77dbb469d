"""Colour, marker and line of each role, equal in all figures.

Teachers have cool colours, the student a warm one, references are black, controls are dashed.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kdbatch.report.figures.drawing import DASHED
from kdbatch.report.labels import RoleGroup, role_group

# Okabe & Ito 2008, "Color universal design": distinct with any colour vision. Markers and dashes
# make the same distinctions without colour.
STUDENT = "#D55E00"
REFERENCE = "#000000"
LABELS_ONLY = "labels_only"  # occurs in every figure, and has the same style in all of them
TEACHERS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7")
CONTROLS = ("#4b5563", "#9ca3af", "#b08900", "#7c6f64")
TEACHER_MARKERS, CONTROL_MARKERS = ("s", "D", "^", "v"), ("o", "X", "P", "*")


@dataclass(frozen=True, kw_only=True)
class RoleStyle:
    """The style of a role. A higher `rank` is drawn above a lower one."""

    colour: str
    marker: str
    dashes: tuple[float, ...]
    width: float
    rank: int


def role_styles(roles: Sequence[str], references: Collection[str] = ()) -> dict[str, RoleStyle]:
    """Return the style of each role; with more than four teachers or controls, styles repeat."""
    styles: dict[str, RoleStyle] = {}
    num_in_group: Counter[RoleGroup] = Counter()
    for role in sorted(roles, key=lambda role: role != LABELS_ONLY):
        group = role_group(role, references)
        styles[role] = _style(group, num_in_group[group] % len(TEACHERS))
        num_in_group[group] += 1
    return styles


def _style(group: RoleGroup, i: int) -> RoleStyle:
    """Return the style of role `i` of its group."""
    if group == "student":
        return RoleStyle(colour=STUDENT, marker="o", dashes=(), width=2.0, rank=5)
    if group == "reference":
        return RoleStyle(colour=REFERENCE, marker="h", dashes=(), width=1.4, rank=4)
    if group == "teacher":
        marker = TEACHER_MARKERS[i]
        return RoleStyle(colour=TEACHERS[i], marker=marker, dashes=(), width=1.4, rank=4)
    marker = CONTROL_MARKERS[i]
    return RoleStyle(colour=CONTROLS[i], marker=marker, dashes=DASHED, width=1.4, rank=3)
