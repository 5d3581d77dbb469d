"""Distributions that add something to kdbatch, as pip would leave them in a folder."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from support.inputs import JOBS

ROOT = JOBS.parent
EXAMPLE = ROOT / "docs" / "examples" / "kdbatch_example"
PIP = ("pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps")


def pip_install(source: Path, site: Path) -> None:
    """Install a copy of sources into a folder, from nothing but these sources."""
    words = (*PIP, "--no-build-isolation", "--target", str(site), str(source))
    done = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def distribution(site: Path, name: str, entries: Mapping[str, str], **modules: str) -> None:
    """Write a distribution `name` of version 1.0. `entries` are `GROUP NAME` -> object, `modules`
    the texts of the modules of its package, which is called as it is.
    """
    package, info = site / name, site / f"{name}-1.0.dist-info"
    package.mkdir(parents=True)
    info.mkdir()
    (package / "__init__.py").touch()
    for module, text in modules.items():
        (package / f"{module}.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    lines = [
        f"[{place.partition(' ')[0]}]\n{place.partition(' ')[2]} = {entry}"
        for place, entry in entries.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
