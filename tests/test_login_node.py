"""The host part alone, as on a login node: some commands work, the others name what they need."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.cli.command import WORKER_PACKAGES

ROOT = JOBS.parent
SUBSET_SIZE = str(JOBS / "subset_size.yaml")
# prefixes of names in site-packages
WORKER_PREFIXES = ("torch", "av", "decord", "safetensors", "webdataset")


@pytest.fixture(scope="module")
def host_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with links to this environment's packages, without those of the worker part."""
    folder = tmp_path_factory.mktemp("host")
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if not package.name.startswith(WORKER_PREFIXES):
            (folder / package.name).symlink_to(package)
    return folder


@pytest.fixture
def on_login_node(host_packages: Path, sharded, in_tmp: Path):
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    environment = {"PYTHONPATH": f"{ROOT}:{host_packages}"}
    for name, value in os.environ.items():
        if not name.startswith(("SLURM", "PYTHON")):
            environment[name] = value

    def kdbatch(*arguments: str) -> subprocess.CompletedProcess[str]:
        # -S: no site-packages but those on PYTHONPATH
        command = [sys.executable, "-S", "-m", "kdbatch", *arguments]
        return subprocess.run(
            command, cwd=in_tmp, env=environment, capture_output=True, text=True, timeout=120
        )

    return kdbatch


def test_the_packages_of_the_worker_part_are_those_of_pyproject() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = pyproject["project"]["optional-dependencies"]
    assert {line.partition(">")[0] for line in extras["worker"]} == WORKER_PACKAGES


@pytest.mark.parametrize(
    "words",
    [
        ("init",),
        ("plan", SUBSET_SIZE),
        ("submit", SUBSET_SIZE, "--dry-run"),
        ("status",),
        ("report",),
    ],
)
def test_the_host_part_alone_plans_submits_and_reports(
    on_login_node, in_tmp: Path, words: tuple[str, ...]
) -> None:
    if words != ("init",):
        (in_tmp / "kd.sif").touch()
        (in_tmp / "kdbatch.toml").write_text('[container]\nimage = "kd.sif"\nruntime = "true"\n')
    done = on_login_node(*words)
    if words == ("report",):
        assert (done.returncode, done.stdout) == (2, ""), done
        assert "nothing was submitted yet" in done.stderr, done
    else:
        assert (done.returncode, done.stderr) == (0, ""), done


@pytest.mark.parametrize(
    ("words", "elsewhere"),
    [
        (("toy", "toys"), "in the image, which has it: apptainer exec IMAGE kdbatch toy toys"),
        (
            ("shard", "k400", "--root=videos"),
            "let a node of SLURM do it: kdbatch shard k400 --root=videos --slurm",
        ),
        (
            ("shard", "verify", "ucf101"),
            "in the image, which has it: apptainer exec IMAGE kdbatch shard verify ucf101",
        ),
        (("bench", "cka"), "in the image, which has it: apptainer exec IMAGE kdbatch bench cka"),
    ],
)
def test_commands_that_read_videos_or_train_name_where_they_can_run(
    on_login_node, in_tmp: Path, words: tuple[str, ...], elsewhere: str
) -> None:
    shutil.rmtree(in_tmp / "shards" / "k400")  # they are not shards of these videos
    for split in ("train", "val"):
        (in_tmp / "videos" / split / "archery").mkdir(parents=True)
        (in_tmp / "videos" / split / "archery" / f"{split}_000001_000011.mp4").touch()
    done = on_login_node(*words)
    package = "torch" if words[0] == "bench" else "av"
    message = (
        f"kdbatch: this needs {package}, which is not installed here. Install it with the worker "
        f"part: pip install 'kdbatch[worker]'; or {elsewhere}\n"
    )
    assert (done.returncode, done.stderr) == (2, message)


@pytest.mark.parametrize("where", ["--local", "--dry-run"])
def test_runs_that_would_have_no_torch_are_not_submitted(
    on_login_node, in_tmp: Path, where: str
) -> None:
    done = on_login_node("submit", SUBSET_SIZE, where)
    assert done.returncode == 2, done
    assert "has no torch. Name an image (make image), or: pip install" in done.stderr, done
    assert not (in_tmp / "runs").exists()
    finding = "bad   container: kdbatch.toml: container.image: there is none"
    assert finding in on_login_node("doctor").stdout
