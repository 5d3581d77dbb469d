"""Finds the folder of the study: the nearest one upwards that has a kdbatch.toml."""

import os
from pathlib import Path

from kdbatch.base.command_lines import init_command, shell_word
from kdbatch.base.errors import UserError

CONFIG_NAME = "kdbatch.toml"


def find_study() -> Path:
    """The folder of the nearest kdbatch.toml, relative to the current folder: `.`, `..`, `../..`.

    Without a kdbatch.toml the current folder is the study.

    Raises:
        UserError: the nearest file lies above this folder and belongs to another user, or the
            current folder was deleted.
    """
    try:
        here = Path.cwd()
    except FileNotFoundError as error:
        raise UserError("the current folder was deleted. Go to another one, as in: cd") from error
    for depth, folder in enumerate((here, *here.parents)):
        if os.path.lexists(folder / CONFIG_NAME):
            if depth:
                _check_owner(folder)
            return Path(*[os.pardir] * depth)
    return Path()


def expand_home(text: str) -> Path:
    """The path that a user wrote, with `~` as the home folder: a shell leaves it in `--root=~/x`.

    Without a home folder the text stays as it is.
    """
    path = Path(text)
    try:
        return path.expanduser()
    except RuntimeError:
        return path


def _check_owner(folder: Path) -> None:
    """A configuration can start programs (`setup`, `runtime`): that of somebody else, for example
    one in /tmp, is used only by those who go to its folder.
    """
    path = folder / CONFIG_NAME
    if not {path.lstat().st_uid, path.stat().st_uid} <= {os.getuid(), 0}:  # of a link as well
        raise UserError(
            f"{path} belongs to another user, and can start programs. If you trust "
            f"it, go to its folder: cd {shell_word(folder)}. "
            f"If not, start a study here: {init_command()}"
        )
