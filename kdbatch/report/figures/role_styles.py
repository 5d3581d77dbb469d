"""One colour, marker and line per role, the same in every figure: teachers cool, the student warm,
references black, controls dashed.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kdbatch.report.labels import role_group

# Okabe & Ito 2008, "Color universal design": told apart with any colour vision. Markers and dashes
# say the same without colour.
STUDENT = "#D55E00"
REFERENCE = "#000000"
LABELS_ONLY = "labels_only"  # stands in every figure and looks alike in all of them
TEACHERS = ("#0072B2", "#56B4E9", "#009E73", "#CC79A7")
CONTROLS = ("#4b5563", "#9ca3af", "#b08900", "#7c6f64")
TEACHER_MARKERS, CONTROL_MARKERS = ("s", "D", "^", "v"), ("o", "X", "P", "*")


@dataclass(frozen=True, kw_only=True)
class RoleStyle:
    """How a role is drawn. `rank` puts the student on top."""

    colour: str
    marker: str
    dashes: str
    width: float
    rank: int


def role_styles(roles: Sequence[str], references: Collection[str] = ()) -> dict[str, RoleStyle]:
    """Looks by role; beyond four teachers or controls they repeat."""
    looks: dict[str, RoleStyle] = {}
    num_of: dict[str, int] = {}
    for role in sorted(roles, key=lambda role: role != LABELS_ONLY):
        group = role_group(role, references)
        i = num_of.get(group, 0) % 4
        num_of[group] = num_of.get(group, 0) + 1
        if group == "student":
            looks[role] = RoleStyle(colour=STUDENT, marker="o", dashes="-", width=2.0, rank=5)
        elif group == "teacher":
            looks[role] = RoleStyle(
                colour=TEACHERS[i], marker=TEACHER_MARKERS[i], dashes="-", width=1.4, rank=4
            )
        elif group == "reference":
            looks[role] = RoleStyle(colour=REFERENCE, marker="h", dashes="-", width=1.4, rank=4)
        else:
            looks[role] = RoleStyle(
                colour=CONTROLS[i], marker=CONTROL_MARKERS[i], dashes="--", width=1.4, rank=3
            )
    return looks
