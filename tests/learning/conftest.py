import fcntl
from pathlib import Path

import pytest
from support.learning import write_toy_shards


@pytest.fixture(scope="session")
def toy_shards(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Shards of the toy videos, written once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "toy_shards"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            write_toy_shards(folder)
            (folder / "made").touch()
    return folder / "shards"
