"""The folder in which matplotlib keeps its list of fonts. Imports no matplotlib, which needs it."""

import os
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

from kdbatch.base.temporary.private_folder import folder_of_this_user, open_private_folder


def choose_config_folder(environment: MutableMapping[str, str]) -> None:
    """Set MPLCONFIGDIR where matplotlib's own folders cannot be written, as without a home.

    Otherwise matplotlib warns, and lists all fonts of the machine again each time. To be called
    before matplotlib is imported.
    """
    if named := environment.get("MPLCONFIGDIR"):
        folders = [Path(named)]
    else:
        home = Path(environment.get("HOME") or "/")
        folders = [
            Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "matplotlib",
            Path(environment.get("XDG_CACHE_HOME") or home / ".cache") / "matplotlib",
        ]
    if all(_is_usable(folder) for folder in folders):
        return
    own = folder_of_this_user(Path(tempfile.gettempdir()) / "kdbatch-matplotlib")
    try:
        with open_private_folder(own):
            environment["MPLCONFIGDIR"] = str(own)
    except OSError:  # of another user: matplotlib makes one of its own, and says so
        return


def _is_usable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
