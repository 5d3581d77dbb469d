"""The study's published numbers, from `published.csv`: each with the table that prints it.

They were read from the tables on the authors' public site as of 2022-23 (arXiv:2306.06010 and
arXiv:2504.06153 are the papers); the final versions may differ. The column `case` has the form
axis=value;axis=value, with the axes and values of the experiment files.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CSV_PATH = Path(__file__).with_suffix(".csv")


@dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """One published number, in percent."""

    experiment: str
    metric: str
    role: str
    case: dict[str, str]
    value: float
    source: str


@cache
def load_published() -> tuple[PublishedNumber, ...]:
    """Return all published numbers, in the order of the file."""
    with CSV_PATH.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return tuple(
        PublishedNumber(
            experiment=row["experiment"],
            metric=row["metric"],
            role=row["role"],
            case=dict(part.split("=", 1) for part in row["case"].split(";")),
            value=float(row["value"]),
            source=row["source"],
        )
        for row in rows
    )


def find_published(
    experiment: str, *, metric: str, role: str, case: Mapping[str, str]
) -> PublishedNumber | None:
    """Return the published number of this role in this case, or None where there is none."""
    wanted = (experiment, metric, role, dict(case))
    for number in load_published():
        if (number.experiment, number.metric, number.role, number.case) == wanted:
            return number
    return None
