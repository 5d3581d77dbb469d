"""The study's published numbers, `published.csv`: what its own tables say, each with its place.

They were read from the tables on the authors' public site as of 2022-23 (arXiv:2306.06010 and
arXiv:2504.06153 are the papers); the final versions may differ. `case` is axis=value, ... as in the
experiment files.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CSV_PATH = Path(__file__).with_suffix(".csv")


@dataclass(frozen=True, kw_only=True)
class PublishedNumber:
    """One number of the source, in percent."""

    experiment: str
    metric: str
    role: str
    case: dict[str, str]
    value: float
    source: str


@cache
def load_published() -> tuple[PublishedNumber, ...]:
    """All of them, in the order of the file."""
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
    """What the source prints for this role in this case; None where it prints nothing."""
    wanted = (experiment, metric, role, dict(case))
    return next(
        (n for n in load_published() if (n.experiment, n.metric, n.role, n.case) == wanted), None
    )
