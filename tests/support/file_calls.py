"""Counts the calls that take a path, each of which a shared file system has to answer."""

import io
import os
from collections import Counter
from collections.abc import Callable

import pytest

NAMES = {
    os: (
        *("stat", "lstat", "scandir", "listdir", "readlink", "open", "access"),
        *("mkdir", "rmdir", "rename", "replace", "unlink", "link", "chmod"),
    ),
    io: ("open",),
}


class FileCalls:
    """`counts` are the calls by name; `most_open` is how many descriptors were open at once,
    without those that were open before.
    """

    def __init__(self) -> None:
        self.is_counting = True
        self.restart()

    def restart(self) -> None:
        """Count from here on."""
        self.counts: Counter[str] = Counter()
        self.most_open, self._before = 0, _lowest_free_descriptor()

    def install(self, patch: pytest.MonkeyPatch) -> "FileCalls":
        for module, names in NAMES.items():
            for name in names:
                patch.setattr(module, name, self._counted(name, getattr(module, name)))
        return self

    def _counted(self, name: str, call: Callable[..., object]) -> Callable[..., object]:
        def wrapper(*args: object, **kwargs: object) -> object:
            is_counted = self.is_counting and bool(args) and not isinstance(args[0], int)
            self.counts[name] += is_counted  # also of a file that is missing
            found = call(*args, **kwargs)
            if is_counted and name == "open":
                number = found if isinstance(found, int) else found.fileno()  # type: ignore[attr-defined]
                self.most_open = max(self.most_open, number + 1 - self._before)
            return found

        return wrapper


def _lowest_free_descriptor() -> int:
    # A test runner holds dozens of its own, and a file takes the lowest number that is free.
    number = os.dup(0)
    os.close(number)
    return number
