"""The package that pip builds has the experiments and profiles: as a wheel, an sdist, editable."""

import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.inputs import JOBS

ROOT = JOBS.parent
BUILD = "import sys, setuptools.build_meta as b; print(getattr(b, sys.argv[1])(sys.argv[2]))"
# site.addsitedir reads the .pth file of an editable installation, as a virtual environment does.
# The packages of the tests are added without their .pth files: one may be that of kdbatch itself.
INIT = (
    "import site, sys; site.addsitedir(sys.argv[1]); sys.path.append(sys.argv[2]); "
    "sys.argv[1:] = ['init']; from kdbatch.cli.commands import main; main()"
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the files that a package is built from: the build writes next to them."""
    copy = tmp_path / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "jobs", "kdbatch"):
        subprocess.run(["cp", "-a", str(ROOT / name), str(copy)], check=True)
    return copy


def build(kind: str, source: Path, to: Path) -> Path:
    to.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", BUILD, f"build_{kind}", str(to)],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return to / done.stdout.splitlines()[-1]


def check_init(package: Path, folder: Path) -> None:
    """`kdbatch init` of the unpacked package writes the files of jobs/."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", INIT, str(package), sysconfig.get_path("purelib")],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done
    for path in JOBS.rglob("*.*"):
        assert (folder / "jobs" / path.relative_to(JOBS)).read_bytes() == path.read_bytes()


def unpack(wheel: Path, to: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(to)
    return to


@pytest.mark.slow
def test_a_wheel_has_them(source: Path, tmp_path: Path) -> None:
    wheel = build("wheel", source, tmp_path / "dist")
    package = unpack(wheel, tmp_path / "package")
    assert (package / "kdbatch" / "jobs").is_dir()
    check_init(package, tmp_path / "study")


@pytest.mark.slow
def test_a_wheel_made_from_an_sdist_has_them(source: Path, tmp_path: Path) -> None:
    sdist = build("sdist", source, tmp_path / "dist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheel = build("wheel", unpacked, tmp_path / "dist2")
    check_init(unpack(wheel, tmp_path / "package"), tmp_path / "study")


@pytest.mark.slow
def test_an_editable_installation_has_them(source: Path, tmp_path: Path) -> None:
    wheel = build("editable", source, tmp_path / "dist")
    check_init(unpack(wheel, tmp_path / "package"), tmp_path / "study")
