import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

import pytest

from kdbatch.base.errors import UserError
from kdbatch.shard.pool import map_parallel


def test_results_have_the_order_of_the_jobs_and_few_jobs_are_taken_ahead() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for job in range(-40, 0):
            taken.append(job)
            yield job

    results = map_parallel(abs, jobs(), processes=2)
    assert next(results) == 40
    assert len(taken) <= 8
    assert list(results) == list(range(39, 0, -1))


def test_one_process_means_this_process() -> None:
    assert list(map_parallel(lambda job: (job, os.getpid()), [1, 2], processes=1)) == [
        (1, os.getpid()),
        (2, os.getpid()),
    ]


def test_a_worker_that_dies_is_an_error_and_nothing_hangs() -> None:
    with pytest.raises(BrokenProcessPool):
        list(map_parallel(os._exit, [3, 3], processes=2))


def test_0_processes_mean_one_per_core_and_negative_numbers_are_refused() -> None:
    pids = set(map_parallel(_slow_pid, range(8), processes=0))
    assert os.getpid() not in pids or len(os.sched_getaffinity(0)) == 1
    assert len(pids) <= len(os.sched_getaffinity(0))
    with pytest.raises(UserError, match="--processes: found -1"):
        list(map_parallel(abs, [1], processes=-1))


_INTERRUPTED_AT_THE_START = """
import os, signal, threading, time
from multiprocessing import popen_spawn_posix, spawn
from kdbatch.shard.pool import map_parallel

def launch(self, process, of=popen_spawn_posix.Popen._launch):
    preparation = spawn.get_preparation_data

    def interrupted(name):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        return preparation(name)

    spawn.get_preparation_data = interrupted
    of(self, process)
    print("launched", flush=True)

popen_spawn_posix.Popen._launch = launch
{thread}
try:
    print(list(map_parallel(abs, [-1, -2], processes=2)))
except KeyboardInterrupt:
    print("interrupted")
"""
_OTHER_THREAD = "threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"


@pytest.mark.parametrize("thread", ["", _OTHER_THREAD])
def test_an_interrupt_while_workers_start_waits_until_they_have_started(thread: str) -> None:
    script = _INTERRUPTED_AT_THE_START.format(thread=thread)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["launched", "interrupted"], "")


def _slow_pid(_: int) -> int:
    time.sleep(0.05)
    return os.getpid()
