"""Reads planned batches: prefetched by worker processes into shared memory, or in this process."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from kdbatch.run.data.batch import Batch, BatchPlan
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.shared_buffer import SharedBuffer
from kdbatch.run.data.worker_pool import PendingBatch, WorkerPool

PREFETCH_BATCHES = 4  # being read; in addition one is complete and one is in use


def read_batch(plan: BatchPlan, clip_reader: ClipReader) -> Batch:
    """Read a batch in this process."""
    memory = np.empty(plan.num_bytes, np.uint8)
    for request in plan.requests:
        clip_reader.read_clips(request, memory)
    return plan.to_batch(memory)


def read_ahead(
    make_plan: Callable[[int], BatchPlan],
    steps: Iterable[int],
    *,
    num_workers: int,
    clip_reader: ClipReader,
    stage: Callable[[Batch], Batch] = lambda batch: batch,
) -> Generator[Batch, None, None]:
    """The batches of `steps`, in order, read by worker processes that live as long as the iterator.

    A thread makes the plans, waits for the workers and stages the batches, so that the caller does
    not have to. Both are blocked most of the time: the thread by the workers, the caller by the
    device.
    """
    batches = _read_in_workers(
        map(make_plan, steps), num_workers=num_workers, clip_reader=clip_reader, stage=stage
    )
    with closing(batches), ThreadPoolExecutor(1) as thread:
        future = thread.submit(next, batches, None)
        while (batch := future.result()) is not None:
            future = thread.submit(next, batches, None)
            yield batch


def _read_in_workers(
    plans: Iterator[BatchPlan],
    *,
    num_workers: int,
    clip_reader: ClipReader,
    stage: Callable[[Batch], Batch],
) -> Generator[Batch, None, None]:
    plan = next(plans, None)
    if plan is None:
        return
    queue: deque[tuple[BatchPlan, PendingBatch | None]] = deque()
    num_bytes = (PREFETCH_BATCHES + 3) * _max_batch_bytes(plan)
    with (
        closing(SharedBuffer(num_bytes)) as buffer,
        WorkerPool(num_workers, buffer=buffer, clip_reader=clip_reader) as pool,
    ):
        while plan or queue:
            while plan and len(queue) < PREFETCH_BATCHES:
                pending = pool.submit(plan.requests, plan.num_bytes)
                if pending is None and queue:
                    break  # the buffer is full; try again after the next batch
                queue.append((plan, pending))
                plan = next(plans, None)
            yield stage(_wait_for_batch(*queue.popleft(), pool=pool, clip_reader=clip_reader))


def _wait_for_batch(
    plan: BatchPlan, pending: PendingBatch | None, *, pool: WorkerPool, clip_reader: ClipReader
) -> Batch:
    """Without a pending batch the buffer had no room although nothing was being read: the caller
    holds old batches. Reading here is slow, but waiting for room would be a deadlock.
    """
    if pending is None:
        return read_batch(plan, clip_reader)
    return plan.to_batch(pool.wait(pending))


def _max_batch_bytes(plan: BatchPlan) -> int:
    """An upper bound on the buffer space of a batch like `plan`: whole frames instead of crops,
    twice that for larger videos in later batches, and the packed requests.
    """
    num_frames = sum(shape[0] for shape in plan.shapes)
    pixels = max(request.sample.height * request.sample.width for request in plan.requests)
    return 2 * num_frames * pixels * 3 + len(plan.requests) * 4096
