"""Processes that read clips into shared memory (run/data/worker.py is their side).

They take work from one pipe: a token says where in the ring the work is described, and whoever is
free takes the next one. Each answers through a pipe of its own, so that the end of one is seen as
the end of that pipe. No locks: a process may be killed at any instant.
"""

import os
import selectors
import signal
import struct
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from kdbatch.base.errors import UserError
from kdbatch.run.data.clip_reader import ClipReader, ReadRequest, pack_requests
from kdbatch.run.data.shared_buffer import SharedBuffer

TASK = struct.Struct(
    "<QIIQQ"
)  # where the work is described: start, bytes; its order; where its batch lies: start, bytes
REPLY = struct.Struct("<IBI")  # number of the order, kind, bytes of the message that follows
DONE, USER_ERROR, BUG = 0, 1, 2
_TASKS_PER_WORKER = (
    3  # a batch is dealt out in about as many pieces, so that all are busy to its end
)
_CLOSE_SECONDS = 10.0


@dataclass(kw_only=True)
class PendingBatch:
    """Clips that were asked for. `memory` is flat, complete when `num_open` is 0."""

    number: int
    memory: np.ndarray
    num_unfinished: int
    failure: Exception | None = None
    _held_buffers: list[np.ndarray] = field(default_factory=list)

    def hold_buffer(self, span: np.ndarray) -> None:
        """Hold the description of the work for as long as someone may read it."""
        self._held_buffers.append(span)

    def finish_task(self, failure: Exception | None) -> None:
        self.num_unfinished -= 1
        self.failure = self.failure or failure
        if not self.num_unfinished:
            self._held_buffers.clear()


class WorkerPool:
    """`num_workers` processes and the ring that they write to. Use as a context: leaving it ends
    them.
    """

    def __init__(
        self,
        num_workers: int,
        *,
        buffer: SharedBuffer,
        clip_reader: ClipReader,
    ) -> None:
        self._buffer, self._pending, self._next_number = buffer, dict[int, PendingBatch](), 0
        self._task_read, self._task_write = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._processes: dict[int, subprocess.Popen] = {}
        self._received: dict[int, bytearray] = {}
        for _ in range(num_workers):
            answers, answer_end = os.pipe()
            self._processes[answers] = _start_worker(
                buffer, self._task_read, answer_end, clip_reader
            )
            os.close(answer_end)
            self._received[answers] = bytearray()
            self._selector.register(answers, selectors.EVENT_READ)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        """Take back the work that nobody has begun; who finds no more work leaves."""
        os.close(
            self._task_write
            # first, so that the pipe has an end; set not to block, it would fail those who wait at it
        )
        while os.read(self._task_read, 1 << 16):
            pass
        os.close(self._task_read)
        for answers, process in self._processes.items():
            os.close(answers)
            try:
                process.wait(_CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._selector.close()

    def submit(self, requests: Sequence[ReadRequest], num_bytes: int) -> PendingBatch | None:
        """Have `readings` read. None where the ring has no room for them now."""
        size = -(-len(requests) // (_TASKS_PER_WORKER * len(self._processes)))
        groups = [pack_requests(requests[i : i + size]) for i in range(0, len(requests), size)]
        work, place = self._buffer.allocate(sum(map(len, groups))), self._buffer.allocate(num_bytes)
        if work is None or place is None:
            return None
        start, described = work
        described[:] = np.frombuffer(b"".join(groups), np.uint8)
        order = PendingBatch(number=self._next_number, memory=place[1], num_unfinished=len(groups))
        order.hold_buffer(described)
        self._next_number = (self._next_number + 1) % (1 << 32)
        self._pending[order.number] = order
        for group in groups:
            os.write(
                self._task_write, TASK.pack(start, len(group), order.number, place[0], num_bytes)
            )
            start += len(group)
        return order

    def wait(self, pending: PendingBatch) -> np.ndarray:
        """The memory of an order, complete.

        Raises:
            UserError: a video cannot be read, or a process was killed.
        """
        while pending.num_unfinished:
            for key, _ in self._selector.select():
                self._receive(key.fd)
        if pending.failure:
            raise pending.failure
        return pending.memory

    def _receive(self, answers: int) -> None:
        heard = self._received[answers]
        data = os.read(answers, 1 << 16)
        if not data:
            raise _worker_exit_error(self._processes[answers].wait())
        heard += data
        while len(heard) >= REPLY.size:
            number, kind, size = REPLY.unpack_from(heard)
            if len(heard) < REPLY.size + size:
                return
            message = heard[REPLY.size : REPLY.size + size].decode()
            del heard[: REPLY.size + size]
            order = self._pending[number]
            order.finish_task(
                {DONE: None, USER_ERROR: UserError(message), BUG: RuntimeError(message)}[kind]
            )
            if not order.num_unfinished:
                del self._pending[number]


def _start_worker(
    buffer: SharedBuffer, work: int, answers: int, clip_reader: ClipReader
) -> subprocess.Popen:
    """A new interpreter, not a fork: CUDA survives none, and this process may hold gigabytes. It
    starts without torch.

    Signals that ask a run to stop are this process's to act on: they are blocked in the children
    from their first instruction.
    """
    kept = signal.pthread_sigmask(
        signal.SIG_BLOCK,
        {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2},
    )
    try:
        numbers = map(str, (buffer.file, buffer.num_bytes, work, answers))
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "kdbatch.run.data.worker",
                *numbers,
                *clip_reader.to_arguments(),
            ],
            pass_fds=(buffer.file, work, answers),
            stdin=subprocess.DEVNULL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)


def _worker_exit_error(code: int) -> Exception:
    if code < 0:
        return UserError(
            f"a process that reads clips was killed by {signal.Signals(-code).name} (SIGKILL: mostly for want of memory). Raise memory_gb "
            "under [resources] in kdbatch.toml, then type the same kdbatch submit: the run goes on from its last checkpoint."
        )
    return RuntimeError(
        f"a process that reads clips ended with code {code}; what it said is in the run's log"
    )
