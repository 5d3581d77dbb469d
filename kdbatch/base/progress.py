"""The callback by which a long task reports its progress; cli/live/progress.py displays it."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with the number of finished steps, the total, and a note on the current step."""


def silent(done: int, total: int, note: str) -> None:
    """Ignore the progress."""
