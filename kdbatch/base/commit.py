"""The commit that kdbatch was made from, whichever way it was installed."""

import importlib.metadata
import subprocess
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.reading.documents import parse_json

_PACKAGE = Path(__file__).parents[1]


def find_commit() -> str:
    """The commit, or `unknown` with the reason in parentheses.

    It is asked for in the checkout that kdbatch runs from. An installed package has it in
    commit.txt, which setup.py writes, or in pip's record of the repository.
    """
    if (_PACKAGE.parent / ".git").exists():
        return _commit_of_checkout(_PACKAGE.parent)
    recorded = _PACKAGE / "commit.txt"
    if recorded.exists():
        return recorded.read_text(encoding="utf-8").strip()
    return _commit_of_installation() or "unknown (installed from sources without a git commit)"


def _commit_of_checkout(root: Path) -> str:
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=10
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown (git does not run: {type(error).__name__})"
    if done.returncode:
        return f"unknown (git: {(done.stderr.strip().splitlines() or ['no answer'])[0]})"
    return done.stdout.strip()


def _commit_of_installation() -> str:
    """The commit in pip's direct_url.json (PEP 610); empty without one."""
    try:
        text = importlib.metadata.distribution("kdbatch").read_text("direct_url.json")
        commit = parse_json(text or "{}", where="direct_url.json")["vcs_info"]["commit_id"]
    except (importlib.metadata.PackageNotFoundError, UserError, KeyError, TypeError):
        return ""
    return commit if isinstance(commit, str) else ""
