"""The ranges of pyproject.toml, and the locks that are made from them."""

import os
import re
import shutil
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = {"requirements.lock": ["worker"], "development.lock": ["worker", "bench", "dev"]}
PYTHONS = re.findall(
    r"Programming Language :: Python :: 3\.(\d+)", "\n".join(PROJECT["project"]["classifiers"])
)
MACHINES = ("x86_64", "aarch64")


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """One package of a lock, with the files that its hashes are of."""

    requirement: Requirement
    files: tuple[str, ...]
    hashes: tuple[str, ...]

    @property
    def version(self) -> str:
        return str(self.requirement.specifier).removeprefix("==")


def ranges(*extras: str) -> list[Requirement]:
    optional = PROJECT["project"]["optional-dependencies"]
    lines = [*PROJECT["project"]["dependencies"], *(line for e in extras for line in optional[e])]
    return [Requirement(line) for line in lines]


def read_lock(name: str) -> dict[str, Pinned]:
    text = (ROOT / "container" / name).read_text(encoding="utf-8")
    found, files = {}, []
    for line in text.replace(" \\\n", "").splitlines():
        if line.startswith("# ") and line.endswith(".whl"):
            files.append(line[2:])
        elif not line.startswith("#"):
            pin, *hashes = line.split("    --hash=")
            requirement = Requirement(pin)
            found[requirement.name] = Pinned(
                requirement=requirement, files=tuple(files), hashes=tuple(hashes)
            )
            files = []
    return found


LOCKS = {name: read_lock(name) for name in EXTRAS}


def fits(file: str, *, python: str, machine: str) -> bool:
    """Whether a wheel, judged by its name, is for CPython 3.`python` on this machine."""
    interpreters, abi, platform = file.removesuffix(".whl").split("-")[-3:]
    is_for_python = "py3" in interpreters.split(".") or interpreters == f"cp3{python}"
    if abi == "abi3":
        is_for_python = int(interpreters.removeprefix("cp3")) <= int(python)
    return is_for_python and (platform == "any" or platform.endswith(machine))


@pytest.mark.parametrize(
    "requirement",
    ranges(*PROJECT["project"]["optional-dependencies"]),
    ids=lambda requirement: requirement.name,
)
def test_every_range_has_both_ends(requirement: Requirement) -> None:
    assert {part.operator for part in requirement.specifier} == {">=", "<"}


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_has_every_direct_dependency_within_its_range(name: str) -> None:
    lock = LOCKS[name]
    build = [Requirement(line) for line in PROJECT["build-system"]["requires"]]
    for requirement in ranges(*EXTRAS[name]) + build:
        pinned = lock.get(requirement.name.lower())
        assert pinned, f"make lock: {name} has no {requirement.name}"
        assert requirement.specifier.contains(pinned.version), (
            f"make lock: {name} has {pinned.requirement}, pyproject.toml {requirement}"
        )


@pytest.mark.parametrize("name", EXTRAS)
def test_every_package_of_a_lock_has_hashes_for_each_python_and_machine(name: str) -> None:
    assert len(PYTHONS) == 3
    for pinned in LOCKS[name].values():
        assert len(pinned.files) == len(pinned.hashes) > 0, pinned
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", hash) for hash in pinned.hashes), pinned
        marker = pinned.requirement.marker
        for machine in MACHINES:
            if marker and not marker.evaluate({"platform_machine": machine}):
                continue
            for python in PYTHONS:
                assert any(fits(file, python=python, machine=machine) for file in pinned.files), (
                    f"{pinned.requirement} has nothing for Python 3.{python} on {machine}"
                )


def test_only_decord_is_for_one_machine() -> None:
    marked = {
        name for name, pinned in LOCKS["development.lock"].items() if pinned.requirement.marker
    }
    assert marked == {"decord"}


def test_both_locks_have_equal_versions() -> None:
    both = LOCKS["requirements.lock"]
    development = LOCKS["development.lock"]
    assert {name: development[name] for name in both} == both


@pytest.mark.parametrize("name", EXTRAS)
def test_a_lock_names_no_registry_and_no_folder(name: str) -> None:
    assert not re.search(r"://|(^|\s)/|index-url", (ROOT / "container" / name).read_text())


@pytest.mark.parametrize("changed", ["container/development.lock", "pyproject.toml"])
def test_a_new_lock_means_a_new_environment(tmp_path: Path, changed: str) -> None:
    for name in ("Makefile", "pyproject.toml", "container/development.lock"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
        os.utime(tmp_path / name, (1000, 1000))
    stamp = tmp_path / ".venv" / ".made"
    stamp.parent.mkdir()
    stamp.touch()

    def is_up_to_date() -> bool:
        asked = subprocess.run(["make", "--question", str(stamp)], cwd=tmp_path, timeout=60)
        return asked.returncode == 0

    assert is_up_to_date()
    (tmp_path / changed).touch()
    os.utime(stamp, (2000, 2000))
    assert not is_up_to_date()
