"""The cluster is started once, for all tests of this folder, and stopped after them."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest
from support import micro_study as micro
from support.cluster import EPOCHS, HERE, PACKAGES, ROOT, WITH, WITHOUT, Cluster, make_study

STATE = Path(os.environ.get("KDBATCH_CLUSTER_STATE", "/tmp/kdbatch-cluster"))
CACHE = Path(os.environ.get("KDBATCH_CLUSTER_CACHE", "/var/cache/kdbatch-cluster"))
NUM_NODES = 4
WHY_NOT = pytest.StashKey[str]()  # why no cluster can be started here; empty where one can


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Asked here and not in a fixture, so that pytest tells the reason once for all tests."""
    if WHY_NOT not in item.config.stash:
        item.config.stash[WHY_NOT] = (
            "starting one takes root" if os.geteuid() else refusal("install")
        )
    if why := item.config.stash[WHY_NOT]:
        no_cluster(why)


def no_cluster(reason: str) -> NoReturn:
    """The one place that leaves tests out; where the cluster is required, it lets them fail."""
    if os.environ.get("KDBATCH_REQUIRE_CLUSTER") == "1":
        pytest.fail(
            f"a cluster is required (KDBATCH_REQUIRE_CLUSTER=1), and {reason}", pytrace=False
        )
    pytest.skip(f"no SLURM can be started here: {reason}")


def refusal(*words: str) -> str:
    """Why one of this folder's scripts did not do its work; empty if it did."""
    done = subprocess.run([str(HERE / words[0]), *words[1:]], capture_output=True, text=True)
    said = done.stderr.strip().splitlines() or ["nothing"]
    return f"tests/cluster/{words[0]} says: {said[-1]}" if done.returncode else ""


@pytest.fixture(scope="session", params=[WITHOUT])
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Four nodes, without accounting unless a test asks for it. This machine's python, and the
    checkout, are the login node's.
    """
    seen = (sys.base_prefix, sys.prefix, str(ROOT))
    words = ["--for", str(os.getpid()), *(word for folder in seen for word in ("--see", folder))]
    if why := refusal(
        "up", f"--nodes={NUM_NODES}", *words, *(["--accounting"] if request.param == WITH else [])
    ):
        no_cluster(why)
    try:
        work = STATE / "work"
        work.mkdir()
        cluster = Cluster(work=work)
        os.chown(work, *(int(cluster.run("id", flag, cwd=Path("/"))) for flag in ("-u", "-g")))
        yield cluster
    finally:
        subprocess.run([str(HERE / "down"), "--wipe"], check=True)


@pytest.fixture(scope="session")
def image(cluster: Cluster) -> Path:
    """The image of these sources, without packages of its own.

    The first one starts from a Debian archive and stays; later ones, of other sources, are built on
    it in a fraction of the time.
    """
    if sys.version_info[:2] != (3, 11):
        no_cluster(
            "the image's Python 3.11 cannot use the packages of this one; make PYTHON=python3.11"
        )
    images = CACHE / "home" / "test-images"
    parts = [
        (ROOT / name).read_bytes() for name in ("Apptainer.def", "container/requirements.lock")
    ]
    first = (
        images
        / f"first-{hashlib.sha256(b''.join((*parts, str(PACKAGES).encode()))).hexdigest()[:12]}.sif"
    )
    words = [
        str(ROOT / "container" / "build"),
        "--bound",
        str(PACKAGES),
        *(("--on", str(first)) if first.exists() else ("--debian",)),
    ]
    said = cluster.run(*words, cwd=ROOT, timeout=1200, env={"KDBATCH_IMAGES": str(images)})
    built = Path(said.splitlines()[-1])
    if not first.exists():
        cluster.run("ln", str(built), str(first))
    for old in images.glob("*.sif"):
        if old not in (built, first):
            old.unlink()
    return built


@pytest.fixture(scope="session")
def toys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of tiny toys, below `shards`."""
    folder = tmp_path_factory.mktemp("toys")
    micro.write_shards(folder)
    return folder


@pytest.fixture(scope="session")
def shards(cluster: Cluster, toys: Path) -> Path:
    """The same, where jobs can read them."""
    return shutil.copytree(toys / "shards", cluster.work / "shards")


@pytest.fixture(scope="session")
def local_study(tmp_path_factory: pytest.TempPathFactory, toys: Path) -> Path:
    """The whole study through the local queue, with this machine's python and no cluster."""
    folder = make_study(tmp_path_factory.mktemp("local"), shards=toys / "shards", epochs=EPOCHS)
    micro.wait_for_success(micro.submit(folder, folder / "jobs" / "subset_size.yaml"), timeout=300)
    return folder
