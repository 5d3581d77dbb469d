"""The recipe of the image: what it is built on, and that no word ties it to a kind of machine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "container" / "requirements.lock"


def reduced_lock(site: Path, **versions: str) -> "subprocess.CompletedProcess[str]":
    """Run base.py as in an image whose Python has these packages alone."""
    for package, version in versions.items():
        (site / f"{package}-{version}.dist-info").mkdir(parents=True)
        (site / f"{package}-{version}.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
        )
    command = (sys.executable, "-S", "container/base.py", "pyproject.toml", str(LOCK))
    return subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(site)}, capture_output=True, text=True
    )


def test_the_torch_of_a_sites_own_image_is_not_installed_again(tmp_path: Path) -> None:
    done = reduced_lock(tmp_path, torch="2.11.0a0+git12", torchvision="0.26.1+rocm7")
    assert done.returncode == 0, done.stderr
    pins = re.compile(r"(?m)^[\w-]+==[^ ]+")
    left_out = set(pins.findall(LOCK.read_text())) - set(pins.findall(done.stdout))
    names = {pin.partition("==")[0] for pin in left_out}
    assert {"torch", "torchvision", "triton", "nvidia-nccl-cu13"} <= names
    assert all(re.match("torch|triton|nvidia-|cuda-", name) for name in names)
    assert done.stdout.count("--hash=") == LOCK.read_text().count("--hash=") - sum(
        pin.count("--hash=")
        for pin in re.split(r"(?m)^(?=[a-z])", LOCK.read_text())
        if pin.startswith(tuple(left_out))
    )


@pytest.mark.parametrize(
    ("versions", "says"),
    [
        ({"torch": "2.10.1+rocm6.4", "torchvision": "0.26.0"}, "has torch 2.10.1+rocm6.4; kdbatch"),
        ({"torch": "2.11.0"}, "has no torchvision; kdbatch needs 0.26 or newer"),
    ],
)
def test_a_torch_older_than_the_lowest_supported_one_ends_the_build(
    tmp_path: Path, versions: dict[str, str], says: str
) -> None:
    done = reduced_lock(tmp_path, **versions)
    assert done.returncode == 1 and done.stdout == "" and says in done.stderr


def test_no_word_of_the_definition_names_a_kind_of_machine() -> None:
    for name in ("Apptainer.def", "container/build", "container/base.py"):
        assert not re.search(r"x86|amd64|aarch64|arm64|i686", (ROOT / name).read_text()), name
