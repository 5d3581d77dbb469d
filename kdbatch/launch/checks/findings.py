"""The findings of a check of this machine or of a node."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "note", "bad"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report: `bad` makes runs fail, `note` is worth knowing."""

    severity: Severity
    subject: str
    message: str


def ok(subject: str, message: str) -> Finding:
    """A finding that is as it should be."""
    return Finding(severity="ok", subject=subject, message=message)


def note(subject: str, message: str) -> Finding:
    """A finding that is worth knowing."""
    return Finding(severity="note", subject=subject, message=message)


def bad(subject: str, message: str) -> Finding:
    """A finding that makes runs fail."""
    return Finding(severity="bad", subject=subject, message=message)
