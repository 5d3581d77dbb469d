"""Records the commit that is installed, in kdbatch/commit.txt; the rest is in pyproject.toml."""

import os
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

ROOT = Path(__file__).parent


def commit() -> str:
    """The commit of this checkout, or the one in KDBATCH_COMMIT; empty where there is neither."""
    given = os.environ.get("KDBATCH_COMMIT", "none")
    if given != "none":
        return given
    if not (ROOT / ".git").exists():
        return ""
    command = ["git", "-C", str(ROOT), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def record(package: Path) -> None:
    """Write the file, unless there is no commit: an archive of the sources may hold the file."""
    if found := commit():
        (package / "commit.txt").write_text(f"{found}\n")


class BuildWithCommit(build_py):
    """Adds the file to what is installed."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            record(Path(self.build_lib) / "kdbatch")


class ArchiveWithCommit(sdist):
    """Adds the file to the archive of the sources."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        record(Path(base_dir) / "kdbatch")


setup(cmdclass={"build_py": BuildWithCommit, "sdist": ArchiveWithCommit})
