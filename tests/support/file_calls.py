"""Counts the calls that take a path, each of which a shared file system has to answer."""

import io
import os
from collections import Counter
from collections.abc import Callable

import pytest

_list_folder = os.listdir  # not counted
KEPT_DESCRIPTORS = 4096  # from here on are the locks that simulated workers hold meanwhile
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
        self.most_open, self._before = 0, _num_open()

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
                self.most_open = max(self.most_open, _num_open() - self._before)
            return found

        return wrapper


def _num_open() -> int:
    return sum(int(name) < KEPT_DESCRIPTORS for name in _list_folder("/proc/self/fd"))
