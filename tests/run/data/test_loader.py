"""Batches read by real worker processes."""

import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch
from support import clips
from support.wait import wait_until

from kdbatch.base.errors import UserError
from kdbatch.bench.data.streams import BATCH_CLIPS, loader_stream
from kdbatch.run.data.batch import Batch
from kdbatch.run.data.batches import StoredVideo, TrainingBatches, iterate_batches
from kdbatch.run.data.clip_reader import ClipReader, pack_requests, unpack_requests
from kdbatch.run.data.decoding.decode import DECODERS
from kdbatch.run.data.loader import PREFETCH_BATCHES, read_ahead
from kdbatch.run.data.shared_buffer import SharedBuffer
from kdbatch.run.data.worker_pool import WorkerPool

QUICK_SHARES = (
    (8, 0),
    (1, 1),
    (5, 2),
    (3, 3),
    (7, 4),
)  # of the 40 pairs, those that are always tried: processes are dear


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[StoredVideo]:
    return clips.videos_of(clips.make_shards(tmp_path_factory.mktemp("loader")))


@pytest.fixture(autouse=True)
def workers() -> Iterator[Callable[[], list[int]]]:
    """The worker processes that a test has started. Afterwards, neither a process nor an open file
    may be left: the buffer has no name, so it is freed with its last file descriptor.
    """
    before, others = _open_files(), _children()

    def ours() -> list[int]:
        return [child for child in _children() if child not in others]

    yield ours
    assert ours() == []
    assert _open_files() == before


def _open_files() -> list[str]:
    """Open files of the kinds that reading uses. A caught error refers to its frames until it is
    collected.
    """
    gc.collect()
    links = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sorted(
        link for link in links if link.startswith(("pipe:", "/memfd:", "anon_inode:[eventpoll]"))
    )


def _children(parent: int = 0) -> list[int]:
    tasks = Path(f"/proc/{parent or os.getpid()}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def _equal(a: Batch, b: Batch) -> bool:
    same = (
        a.keys == b.keys
        and a.augment_params == b.augment_params
        and torch.equal(a.label_B, b.label_B)
    )
    extra = all(torch.equal(a.extra[name], b.extra[name]) for name in a.extra)
    return same and extra and all(torch.equal(x, y) for x, y in zip(a.clips, b.clips, strict=True))


@pytest.mark.parametrize("num_workers", [1, 2, 4])
def test_batches_do_not_depend_on_the_workers_or_on_the_first_step(
    videos: list[StoredVideo], num_workers: int
) -> None:
    source = clips.source_of(videos)
    here = list(iterate_batches(source, range(2 * source.steps_per_epoch), num_workers=0))
    step = start = num_workers + 1
    for step, batch in enumerate(
        iterate_batches(source, range(start, len(here)), num_workers=num_workers), start
    ):
        assert _equal(batch, here[step])
    assert step == len(here) - 1


@pytest.mark.parametrize(
    ("world_size", "num_workers"),
    [
        pytest.param(
            world_size,
            num_workers,
            marks=() if (world_size, num_workers) in QUICK_SHARES else pytest.mark.rare,
        )
        for world_size in range(1, 9)
        for num_workers in range(5)
    ],
)
def test_processes_that_train_together_read_their_shares_and_nothing_else(
    videos: list[StoredVideo], world_size: int, num_workers: int
) -> None:
    """The parts of all ranks together are what a single rank reads. The last rank has workers."""
    alone = clips.source_of(videos[: 2 * world_size], batch_clips=world_size)
    sources = [
        clips.source_of(alone.videos, batch_clips=world_size, rank=r, world_size=world_size)
        for r in range(world_size)
    ]
    shares = [list(iterate_batches(source, range(3), num_workers=0)) for source in sources[:-1]]
    shares.append(list(iterate_batches(sources[-1], range(3), num_workers=num_workers)))
    for step in range(3):
        whole = alone[step]
        assert len({len(of_rank) for of_rank in shares}) == 1
        for rank, part in enumerate(of_rank[step] for of_rank in shares):
            assert part.keys == whole.keys[rank::world_size]
            expected = [
                clip
                for i in range(rank, len(whole.keys), world_size)
                for clip in whole.clips[2 * i : 2 * i + 2]
            ]
            assert all(torch.equal(x, y) for x, y in zip(part.clips, expected, strict=True))


def test_batches_that_are_kept_stay_what_they_were(videos: list[StoredVideo]) -> None:
    """More batches than the buffer has room for."""
    source = clips.source_of(videos)
    steps = range(5 * (PREFETCH_BATCHES + 3))
    kept = list(iterate_batches(source, steps, num_workers=1))
    assert all(_equal(batch, source[step]) for step, batch in zip(steps, kept, strict=True))


def test_no_steps_start_no_process(videos: list[StoredVideo]) -> None:
    assert list(iterate_batches(clips.source_of(videos), range(0), num_workers=2)) == []


def test_only_the_batches_that_are_asked_for_and_a_few_ahead_are_planned(
    videos: list[StoredVideo],
) -> None:
    source, planned = clips.source_of(videos), []

    def plan(step: int):
        planned.append(step)
        return source.plan(step)

    made = read_ahead(plan, range(20, 60), num_workers=1, clip_reader=ClipReader(decoder="pyav"))
    next(made)
    made.close()
    assert planned[0] == 20 and len(planned) <= PREFETCH_BATCHES + 3


def test_leaving_early_ends_the_processes(
    videos: list[StoredVideo], workers: Callable[[], list[int]]
) -> None:
    made = iterate_batches(clips.source_of(videos), range(1000), num_workers=2)
    next(made)
    assert len(workers()) == 2
    del made


def test_leaving_early_is_quiet_whatever_the_workers_do_at_that_moment(
    videos: list[StoredVideo], capfd: pytest.CaptureFixture[str]
) -> None:
    """In half of the cases they wait for tasks, in the other half tasks are left."""
    plan = clips.source_of(videos).plan(0)
    buffer = SharedBuffer(1 << 24)
    for i in range(4):
        with WorkerPool(2, buffer=buffer, clip_reader=ClipReader(decoder="pyav")) as pool:
            submitted = [pool.submit(plan.requests, plan.num_bytes) for _ in range(4)]
            pending = submitted[-1 if i % 2 else 0]
            assert pending is not None
            pool.wait(pending)
            time.sleep(0.003 * i)
        del submitted, pending
    buffer.close()
    assert capfd.readouterr().err == ""


def test_a_damaged_tar_is_reported_at_the_batch_that_needs_it(
    videos: list[StoredVideo], tmp_path: Path
) -> None:
    bad = tmp_path / "bad.tar"
    bad.write_bytes(bytes(1000))
    whole = clips.source_of(videos)
    last = whole.plan(whole.steps_per_epoch - 1).keys[0]
    source = clips.source_of(
        [StoredVideo(bad, v.sample) if v.sample.key == last else v for v in videos]
    )
    error, error_here = (_error_of(source, num_workers) for num_workers in (2, 0))
    assert error == error_here
    assert f"{bad}: {last} cannot be read (the tar is cut short)" in error[1]
    assert error[0] == whole.steps_per_epoch - 1 > 0


def _error_of(source: TrainingBatches, num_workers: int) -> tuple[int, str]:
    """How many batches came before the error, and the error."""
    num = 0
    try:
        for step, _ in enumerate(
            iterate_batches(source, range(source.steps_per_epoch), num_workers=num_workers), 1
        ):
            num = step
    except UserError as error:
        return num, str(error)
    raise AssertionError("there was no error")


def test_a_killed_process_is_noticed_and_error_of(
    videos: list[StoredVideo], workers: Callable[[], list[int]]
) -> None:
    made = iterate_batches(clips.source_of(videos), range(10_000), num_workers=2)
    next(made)
    os.kill(workers()[0], signal.SIGKILL)
    with pytest.raises(UserError, match="killed by SIGKILL.*Raise memory_gb"):
        for _ in made:
            pass


def test_a_bug_in_a_worker_is_raised_with_its_traceback(videos: list[StoredVideo]) -> None:
    plan = clips.source_of(videos).plan(0)
    buffer = SharedBuffer(1 << 22)
    with WorkerPool(1, buffer=buffer, clip_reader=ClipReader(decoder="pyav")) as pool:
        pending = pool.submit(plan.requests, plan.num_bytes // 2)
        assert pending is not None
        with pytest.raises(RuntimeError, match="Traceback"):
            pool.wait(pending)
    del pending
    buffer.close()


def test_signals_that_stop_a_run_do_not_stop_its_workers(
    videos: list[StoredVideo], workers: Callable[[], list[int]]
) -> None:
    source = clips.source_of(videos)
    made = iterate_batches(source, range(12), num_workers=1)
    next(made)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP):
        os.kill(workers()[0], number)
    assert len(list(made)) == 11


def test_workers_exit_when_their_parent_is_killed(
    videos: list[StoredVideo], tmp_path: Path
) -> None:
    script = tmp_path / "parent.py"
    script.write_text(_PARENT)
    tests, shards = Path(__file__).parents[2], videos[0].tar.parents[1]
    with subprocess.Popen(
        [sys.executable, str(script), str(tests), str(shards)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None and parent.stdout.readline() == "reading\n"
        children = _children(parent.pid)
        assert len(children) == 2
        parent.kill()
    wait_until(
        lambda: (
            not any(
                Path(f"/proc/{child}/cmdline").exists() and _is_alive(child) for child in children
            )
        )
    )


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


_PARENT = """\
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from support import clips
from kdbatch.run.data.batches import iterate_batches
source = clips.source_of(clips.videos_of(Path(sys.argv[2])))
made = iterate_batches(source, range(10**12), num_workers=2)
next(made)
print("reading", flush=True)
for _ in made:
    pass
"""


def test_a_worker_needs_neither_torch_nor_decord(
    videos: list[StoredVideo], workers: Callable[[], list[int]]
) -> None:
    made = iterate_batches(clips.source_of(videos), range(100), num_workers=1)
    next(made)
    maps = Path(f"/proc/{workers()[0]}/maps").read_text()
    assert "libav" in maps and "torch" not in maps and "decord" not in maps
    made.close()  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("decoder", DECODERS)
def test_the_memory_of_a_worker_is_flat_over_2000_videos(
    videos: list[StoredVideo], workers: Callable[[], list[int]], decoder: str
) -> None:
    """Clips of 16 frames of 112 pixels, by two workers. A page of the buffer counts once it is
    touched: it is included in the limit, but not in the growth.
    """
    many = [
        replace(v, sample=replace(v.sample, key=f"{v.sample.key}-{i}"))
        for i, v in zip(range(2000), cycle(videos))
    ]
    with closing(loader_stream(many, 2, clip_reader=ClipReader(decoder=decoder))()) as made:
        for _ in range(200 // BATCH_CLIPS):
            next(made)
        early = {worker: _megabytes(worker, "Anonymous") for worker in workers()}
        for _ in range(1800 // BATCH_CLIPS):
            next(made)
        assert len(early) == 2
        for worker in early:
            assert _megabytes(worker, "Rss") < 600
            assert _megabytes(worker, "Anonymous") < early[worker] + 5


def _megabytes(process: int, kind: str) -> float:
    """proc(5): smaps_rollup."""
    for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(kind)


def test_a_request_survives_the_way_to_another_process(videos: list[StoredVideo]) -> None:
    plan = clips.source_of(videos, num_clips=3).plan(0)
    memory, again = np.zeros((2, plan.num_bytes), np.uint8)
    for request, sent in zip(
        plan.requests, unpack_requests(pack_requests(plan.requests)), strict=True
    ):
        assert sent.sample == request.sample and sent.tar == request.tar
        ClipReader(decoder="pyav").read_clips(request, memory)
        ClipReader(decoder="decord").read_clips(sent, again)
    assert np.array_equal(memory, again) and memory.any()
