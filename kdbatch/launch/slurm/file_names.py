"""Refuses folders whose names mean something else in a batch script of SLURM."""

import re
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.output.visible_text import visible

# sbatch(1), "filename pattern": % and a letter, with the width of the number between them, or %%; a
# backslash switches all patterns off. submitit replaces %j, %t, %A and %a itself, also on the node,
# and knows no way to write a % that stays.
_PATTERN = re.compile(r"%(?:%|\d*[A-Za-z])|\\")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")  # a line feed ends the line of the script


def check_submit_folder(folder: Path) -> None:
    """Check the name of a folder that takes the logs and files of an array, before it is made.

    Raises:
        UserError: SLURM or submitit would read a part of the name as something else.
    """
    name = str(folder.resolve())
    found = _PATTERN.search(name) or _CONTROL.search(name)
    if found:
        raise UserError(
            f"{visible(name)}: SLURM's file names cannot have {visible(found[0])!r}, which it "
            "replaces or reads as the end of a line. Rename that folder, or name another in "
            "kdbatch.toml: [paths]"
        )
