"""How a room tells a waiting person how far it is; cli/commands.py shows it."""

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Called with (done, total, what is being done now)."""


def silent(done: int, total: int, note: str) -> None:
    """Shows nothing."""
