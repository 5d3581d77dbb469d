"""A process ends with its parent, however the parent ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.wait import wait_until

CHILD = """
import os, sys, time
from kdbatch.base.processes import end_with_parent
end_with_parent(int(sys.argv[1]) or os.getppid())
print(os.getpid(), flush=True)
time.sleep(30)
"""
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]])"
POOL = """
import os, time
from kdbatch.shard.pool import map_parallel

def work(job):
    print(os.getpid(), flush=True)
    time.sleep(30)

if __name__ == "__main__":
    list(map_parallel(work, [1], processes=2))
"""


def _has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"  # nobody may have collected its exit code yet


@pytest.mark.parametrize("kind", ["child", "pool"])
def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path, kind: str) -> None:
    (tmp_path / "pool.py").write_text(POOL)
    child = [sys.executable, "-c", PARENT, CHILD, "0"]
    command = child if kind == "child" else [sys.executable, str(tmp_path / "pool.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert not _has_ended(pid)
        parent.kill()
    wait_until(lambda: _has_ended(pid))


def test_a_child_whose_parent_has_ended_already_ends_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", CHILD, "1"], capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, b"")


def test_another_process_is_not_the_parent() -> None:
    code = "import os; from kdbatch.base.processes import signal_on_parent_exit as on_exit\n"
    code += f"print(on_exit({os.getpid()}), on_exit({os.getpid()} + 1))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
