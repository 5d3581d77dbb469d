"""Tars do not depend on the locale, which a login node and a compute node may have differently."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.videos import write_video

pytestmark = pytest.mark.rare
NAMES = ("日本語", "Ünïcode_名前", os.fsdecode(b"caf\xe9"), "plain_name_")


@pytest.fixture(scope="module")
def latin1(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a locale in Latin-1, made with localedef."""
    folder = tmp_path_factory.mktemp("locales")
    made = shutil.which("localedef") and subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", str(folder / "en_US.ISO-8859-1")],
        capture_output=True,
        check=False,
    )
    if not made or made.returncode:
        pytest.skip("localedef, or its sources of en_US and ISO-8859-1, are not installed")
    return {"LOCPATH": str(folder), "LC_ALL": "en_US.ISO-8859-1"}


def _shards(folder: Path, root: Path, environment: dict[str, str]) -> dict[str, bytes]:
    """The bytes of every file of the shards of `root`, made in a process of this environment."""
    folder.mkdir()
    code = (
        "import sys, pathlib; from kdbatch.base.progress import silent\n"
        "from kdbatch.shard.build import build_shards\n"
        "from kdbatch.vocab.shard_request import ShardRequest\n"
        "request = ShardRequest(dataset='k400', processes=1, max_rejected=0.5)\n"
        "root, shards = map(pathlib.Path, sys.argv[1:])\n"
        "build_shards(request, root=root, shards_dir=shards, progress=silent)\n"
        "print(sys.getfilesystemencoding())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), str(folder)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    encoding = "utf-8" if "UTF-8" in environment["LC_ALL"] else "iso8859-1 ascii"
    assert done.stdout.strip() in encoding
    return {path.name: path.read_bytes() for path in sorted((folder / "k400").iterdir())}


def test_tars_records_and_index_are_equal_under_any_locale(
    tmp_path: Path, latin1: dict[str, str]
) -> None:
    root = tmp_path / "k400"
    for label in ("Küche", "日本"):
        (root / "train" / label).mkdir(parents=True)
        for name in NAMES:
            write_video(root / "train" / label / f"{name}{label}.avi", num_frames=4)
    (root / "train" / "Küche" / "zerstört.avi").write_bytes(b"")
    environments = {
        "utf-8": {"LC_ALL": "C.UTF-8"},
        "latin-1": latin1,
        "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    }
    made = {
        name: _shards(tmp_path / name, root, environment)
        for name, environment in environments.items()
    }
    assert "train-00000.tar" in made["utf-8"]
    assert made["utf-8"] == made["latin-1"] == made["ascii"]
