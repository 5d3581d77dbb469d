"""The folder of decoded frames on a node."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.base.reading.shown_values import shown
from kdbatch.base.temporary.private_folder import folder_of_this_user, open_private_folder

_ONE_VARIABLE = re.compile(r"\$\w+|\$\{\w+\}")


@dataclass(frozen=True, kw_only=True)
class Cache:
    """The folder where a node may keep decoded frames, and its size limit; no path, no cache."""

    path: str = ""
    """Folder on the node itself, such as /dev/shm/kdbatch; `$NAME` is a variable of the node. Each
    user has one of his own there, with his number at the end of its name.
    """
    max_gb: Annotated[
        float,
        Limits(
            "GB", least=0.001, most=1_000_000, advice=", or leave the path out to have no cache"
        ),
    ] = 20.0
    """Largest size of the cache."""

    def __post_init__(self) -> None:
        check_limits(self)
        if self.path and self.path[0] not in "/$":
            raise UserError(
                f"path: {shown(self.path)} depends on the folder that kdbatch is called in. "
                "Name a folder on the node itself, such as /dev/shm/kdbatch or $TMPDIR/kdbatch."
            )

    def private_folder(self, expand: Callable[[str], str]) -> Path:
        """The folder that a process of this user keeps frames in on this node: `path` with the
        user's number at its end, as others may use the same node. A path that is one variable, such
        as $TMPDIR, is the folder around it. It is made where it is missing.

        `expand` replaces variables.

        Raises:
            UserError: this node has not set a variable, or the folder cannot be made or is not
                this user's alone.
        """
        path = expand(f"{self.path}/kdbatch" if _ONE_VARIABLE.fullmatch(self.path) else self.path)
        if "$" in path:
            raise UserError(f"cache.path is {self.path}, and this node has not set it")
        folder = folder_of_this_user(Path(path))
        try:
            with open_private_folder(folder):
                return folder
        except OSError as error:
            raise UserError(f"{folder}: {error.strerror}") from error

    def problem(self, expand: Callable[[str], str]) -> str:
        """Why a process of this user cannot keep frames on this node; empty where it can."""
        try:
            self.private_folder(expand)
        except UserError as error:
            return str(error)
        return ""
