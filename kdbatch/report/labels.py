"""How the report calls things, and how it writes numbers."""

import math
import re
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Literal

from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.tasks import TASKS

RoleGroup = Literal["teacher", "student", "reference", "control", "probe", "ensemble", "published"]
NO_VALUE = "\u2013"  # an en dash stands where a number is not measured yet
MINUS = "\u2212"  # as wide as a plus sign

METRIC_TITLES: dict[str, str] = {
    "top1": "Top-1 accuracy",
    "top5": "Top-5 accuracy",
    "clip_top1": "Top-1 accuracy of single clips",
    "recall_at_1": "Nearest neighbour is of its class",
    "pretext_accuracy": "Accuracy in the pretext task",
    "block_index": "Block index",
}
_VALUE_TITLES = (
    {name: d.title for name, d in DATASETS.items()}
    | {name: b.title for name, b in BACKBONE_SPECS.items()}
    | {name: t.title for name, t in TASKS.items()}
)


def value_title(value: str) -> str:
    """A value of an axis, as a reader knows it: `ucf101` is UCF101."""
    return _VALUE_TITLES.get(value, value)


def case_title(case: Mapping[str, str]) -> str:
    """A case in one breath: `UCF101 · 10k`."""
    return " · ".join(value_title(v) for v in case.values()) or "all cases"


def metric_title(metric: str) -> str:
    return METRIC_TITLES.get(metric, metric.replace("_", " "))


def role_group(role: str, references: Collection[str] = ()) -> RoleGroup:
    """Teachers are T1, T2, ...; T1.linear, T1.retrieval are what their pretrained features were
    asked; every other role but the student and the experiment's `references` is a control.
    """
    if role in references:
        return "reference"
    if "." in role:
        return "probe"
    if re.fullmatch(r"T\d+", role):
        return "teacher"
    return "student" if role == "student" else "control"


def format_number(value: float | None, *, digits: int = 1) -> str:
    """Fixed digits with a true minus sign; NONE for what is not there."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text.lstrip("-")


def format_signed(value: float | None, *, digits: int = 1) -> str:
    """A difference: always with its sign."""
    text = format_number(value, digits=digits)
    return text if text == NO_VALUE or text[0] == MINUS or not float(text) else f"+{text}"


def format_hours(value: float | None) -> str:
    """Device-hours at a glance: minutes below an hour, seconds below a minute."""
    if value is None or not math.isfinite(value):
        return NO_VALUE
    if value >= 1:
        return f"{value:,.1f} h"
    return f"{value * 60:.0f} min" if value >= 1 / 60 else f"{value * 3600:.0f} s"


def format_time(value: object) -> str:
    """Seconds since 1970, or text as it stands; UTC, to the minute."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 1e11:
        return datetime.fromtimestamp(value, tz=UTC).strftime("%Y-%m-%d %H:%M UTC")
    return value if isinstance(value, str) else ""
