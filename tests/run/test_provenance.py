"""The commit in a run's provenance: of a checkout, of an installation from one, and without any."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from kdbatch.base.commit import find_commit

ROOT = Path(__file__).parents[2]
GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of the sources, without a repository."""
    folder = tmp_path / "sources"
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "kdbatch", folder / "kdbatch", ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def commit_all(folder: Path) -> str:
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "All")):
        subprocess.run([*GIT, *words], cwd=folder, check=True)
    return subprocess.check_output([*GIT, "rev-parse", "HEAD"], cwd=folder, text=True).strip()


def install(sources: Path, **environment: str) -> Path:
    """Build a wheel and unpack it, as pip does; returns the folder of the package's parent."""
    code = "from setuptools.build_meta import build_wheel; print(build_wheel('.'))"
    subprocess.run(
        [sys.executable, "-c", code],
        cwd=sources,
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
    )
    (wheel,) = sources.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(sources.parent / "installed")
    return sources.parent / "installed"


def commit_in(installed: Path) -> str:
    code = "from kdbatch.base.commit import find_commit; print(find_commit())"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.check_output(
        [sys.executable, "-c", code], cwd=installed, env=environment, text=True
    ).strip()


def test_an_installation_from_a_checkout_has_its_commit(sources: Path) -> None:
    commit = commit_all(sources)
    assert commit_in(install(sources)) == commit


def test_an_installation_without_a_repository_has_the_commit_that_its_builder_names(
    sources: Path,
) -> None:
    assert commit_in(install(sources, KDBATCH_COMMIT="c0ffee")) == "c0ffee"


def test_an_installation_without_a_commit_says_why_it_is_unknown(sources: Path) -> None:
    installed = install(sources, KDBATCH_COMMIT="none")
    assert commit_in(installed) == "unknown (installed from sources without a git commit)"


def test_an_installation_from_a_repository_has_the_commit_that_pip_recorded(
    sources: Path,
) -> None:
    installed = install(sources, KDBATCH_COMMIT="none")
    (record,) = installed.glob("kdbatch-*.dist-info")
    direct = {"url": "https://host/kdbatch", "vcs_info": {"vcs": "git", "commit_id": "beef"}}
    (record / "direct_url.json").write_text(json.dumps(direct))
    assert commit_in(installed) == "beef"


def test_a_checkout_that_git_does_not_read_says_why(sources: Path) -> None:
    (sources / ".git").mkdir()
    assert commit_in(sources).startswith("unknown (git: fatal: not a git repository")


def test_the_commit_is_never_empty() -> None:
    assert find_commit()
