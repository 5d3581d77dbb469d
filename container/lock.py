"""Writes the locks: exact versions with the hashes of their wheels, for Linux on both machines.

Usage: `make lock`, or `make lock UPGRADE=1` for the newest versions that pyproject.toml allows.
Without it, versions stay where they are as long as they fit. `uv` finds the versions, this program
leaves out what no supported Python on Linux can install, and names the file of each hash.
"""

import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).resolve().parent.parent
# The first is what the image installs; the second is what .venv has, with equal versions.
EXTRAS = {"requirements.lock": ("worker",), "development.lock": ("worker", "bench", "dev")}
MACHINES = ("x86_64", "aarch64")
PYTHONS = ((3, 11), (3, 12), (3, 13))
NEWEST_GLIBC = 36  # 2.36: that of the image's Debian
LEGACY = {"x86_64": ("manylinux1", "manylinux2010", "manylinux2014"), "aarch64": ("manylinux2014",)}
HEADER = """\
# {what}: exact versions for Linux on x86_64 and aarch64, Python 3.11 to 3.13.
# Written by `make lock`. Above each package are the files that its hashes are of.
"""
WHAT = {
    "requirements.lock": "What the image installs",
    "development.lock": "What `make` installs into .venv",
}


def main(*, upgrade: bool) -> None:
    """Write both locks, the second with the versions of the first."""
    pins: Path | None = None
    with tempfile.TemporaryDirectory() as folder:
        for name, extras in EXTRAS.items():
            lock = ROOT / "container" / name
            found = Path(folder) / name
            if lock.exists() and not upgrade:
                shutil.copy(lock, found)  # uv prefers the versions that its output file has
            resolve(extras, found, constraints=pins)
            files = Path(folder) / f"pylock.{found.stem}.toml"
            resolve(extras, files, constraints=found, form="pylock.toml")
            packages = tomllib.loads(files.read_text(encoding="utf-8"))["packages"]
            lines = [line for package in packages for line in package_lines(package)]
            lock.write_text(HEADER.format(what=WHAT[name]) + "\n".join(lines) + "\n")
            pins = found


def resolve(
    extras: Sequence[str], out: Path, *, constraints: Path | None, form: str = "requirements.txt"
) -> None:
    """Let uv choose versions, the same ones for every Python where that is possible."""
    command = ["uv", "pip", "compile", "--quiet", "--universal", "--fork-strategy=fewest"]
    command += ["--python-version=3.11", "--no-annotate", "--no-header", f"--format={form}"]
    command += [f"--extra={extra}" for extra in extras]
    command += [f"--constraint={constraints}"] if constraints else []
    subprocess.run([*command, f"--output-file={out}", "pyproject.toml"], cwd=ROOT, check=True)


def package_lines(package: dict[str, Any]) -> Iterator[str]:
    """The lines of one package: its files, then its version and their hashes."""
    pin = f"{package['name']}=={package['version']}"
    places = [place for place in product(PYTHONS, MACHINES) if _is_wanted(package, *place)]
    wheels = {wheel["url"].rpartition("/")[2]: wheel for wheel in package.get("wheels", ())}
    fitting: dict[str, str] = {}
    for python, machine in places:
        tags = set(_tags(python, machine))
        here = [name for name in wheels if tags & parse_wheel_filename(name)[3]]
        if not here:
            sys.exit(f"{pin} has no wheel for Python {python[0]}.{python[1]} on {machine}")
        fitting |= {name: wheels[name]["hashes"]["sha256"] for name in here}
    yield from (f"# {name}" for name in sorted(fitting))
    only = {machine for _, machine in places}
    marker = f" ; platform_machine == '{min(only)}'" if len(only) == 1 else ""
    assert len(places) == len(only) * len(PYTHONS), f"{pin} is for some versions of Python only"
    hashes = [f"--hash=sha256:{fitting[name]}" for name in sorted(fitting)]
    yield " \\\n    ".join([pin + marker, *hashes])


def _is_wanted(package: dict[str, Any], python: tuple[int, int], machine: str) -> bool:
    version = ".".join(map(str, python))
    environment = {
        "platform_machine": machine,
        "platform_system": "Linux",
        "sys_platform": "linux",
        "python_version": version,
        "python_full_version": f"{version}.0",
    }
    return "marker" not in package or Marker(package["marker"]).evaluate(environment)


def _tags(python: tuple[int, int], machine: str) -> Iterator[Tag]:
    """The tags of wheels that a CPython on Linux can install, from glibc 2.5 on."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(NEWEST_GLIBC, 4, -1)]
    platforms += [f"{legacy}_{machine}" for legacy in LEGACY[machine]]
    yield from cpython_tags(python, platforms=platforms)
    yield from compatible_tags(python, interpreter=f"cp{python[0]}{python[1]}", platforms=platforms)


if __name__ == "__main__":
    main(upgrade="--upgrade" in sys.argv[1:])
