"""Titles of metrics, cases and roles, and the formats of numbers and times in the report."""

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Literal

from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.tasks import TASKS

RoleGroup = Literal["teacher", "student", "reference", "control", "probe", "ensemble", "published"]
NO_VALUE = "\u2013"  # an en dash, printed where a number is not measured yet
MINUS = "\u2212"  # as wide as a plus sign

METRIC_TITLES: dict[str, str] = {
    "top1": "Top-1 accuracy",
    "top5": "Top-5 accuracy",
    "clip_top1": "Top-1 accuracy of single clips",
    "recall_at_1": "Recall at 1",
    "pretext_accuracy": "Pretext-task accuracy",
    "block_index": "Block index",
}
_VALUE_TITLES = (
    {name: dataset.title for name, dataset in DATASETS.items()}
    | {name: spec.title for name, spec in BACKBONE_SPECS.built_in.items()}
    | {name: task.title for name, task in TASKS.built_in.items()}
)


def value_title(value: str, titles: Mapping[str, str]) -> str:
    """Return the published name of an axis value: UCF101 for `ucf101`; `titles` are those of the
    plan, of the study's own data sets and of what other packages add (PlanRecord.titles).
    """
    return titles.get(value) or _VALUE_TITLES.get(value, value)


def case_title(case: Mapping[str, str], titles: Mapping[str, str]) -> str:
    """Return a case in one line: `UCF101 · 10k`; `titles` as in value_title."""
    return " · ".join(value_title(value, titles) for value in case.values()) or "all cases"


def metric_title(metric: str) -> str:
    """Return the title of a metric; a metric without one is its name without underscores."""
    return METRIC_TITLES.get(metric, metric.replace("_", " "))


def role_group(role: str, references: Collection[str] = ()) -> RoleGroup:
    """Return the group of a role.

    Teachers are T1, T2, ...; T1.linear and T1.retrieval are probes of their pretrained features.
    Every other role except the student and the experiment's `references` is a control.
    """
    if role in references:
        return "reference"
    if "." in role:
        return "probe"
    if re.fullmatch(r"T\d+", role):
        return "teacher"
    return "student" if role == "student" else "control"


def format_number(value: float | None, *, digits: int = 1) -> str:
    """Format with fixed digits and a true minus sign; NO_VALUE for None and for NaN."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("-")


def format_signed(value: float | None, *, digits: int = 1) -> str:
    """Format a difference with its sign; zero has none."""
    text = format_number(value, digits=digits)
    if text == NO_VALUE or text[0] == MINUS or not float(text):
        return text
    return f"+{text}"


def format_hours(value: float | None) -> str:
    """Format device-hours: in minutes below an hour, in seconds below a minute."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    if value >= 1:
        return f"{value:,.1f} h"
    return f"{value * 60:.0f} min" if value >= 1 / 60 else f"{value * 3600:.0f} s"


def format_time(value: object) -> str:
    """Format seconds since 1970 as UTC to the minute; a text is returned unchanged."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e11:
        return datetime.fromtimestamp(value, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
    return value if isinstance(value, str) else ""
