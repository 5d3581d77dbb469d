"""Decode worker processes that read clips into shared memory (their side is run/data/worker.py).

All workers take tasks from one pipe. A task names the part of the shared buffer that describes the
work, and the next free worker takes it. Each worker replies through a pipe of its own, so that its
death shows as the end of that pipe. There are no locks: a worker may be killed at any instant.
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

from kdbatch.base.command_lines import resume_command
from kdbatch.base.errors import UserError
from kdbatch.run.data.clip_reader import ClipReader, ReadRequest, pack_requests
from kdbatch.run.data.shared_buffer import SharedBuffer

# Start and bytes of the packed requests; number of the batch; start and bytes of its memory.
TASK = struct.Struct("<QIIQQ")
REPLY = struct.Struct("<IBI")  # number of the batch, kind, bytes of the message that follows
DONE, USER_ERROR, BUG, SYSTEM_ERROR = 0, 1, 2, 3
_TASKS_PER_WORKER = 3  # of each batch, so that all workers are busy until it is complete
_CLOSE_SECONDS = 10.0
_STOP_SIGNALS = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2}


@dataclass(kw_only=True)
class PendingBatch:
    """A submitted batch. `memory` is flat, and complete when `num_unfinished` tasks are 0."""

    number: int
    memory: np.ndarray
    num_unfinished: int
    failure: Exception | None = None
    _held_buffers: list[np.ndarray] = field(default_factory=list)

    def hold_buffer(self, span: np.ndarray) -> None:
        """Keep the packed requests allocated as long as a worker may read them."""
        self._held_buffers.append(span)

    def finish_task(self, failure: Exception | None) -> None:
        self.num_unfinished -= 1
        self.failure = self.failure or failure
        if not self.num_unfinished:
            self._held_buffers.clear()


class WorkerPool:
    """`num_workers` processes that write to `buffer`. A context manager: leaving it ends them."""

    def __init__(self, num_workers: int, *, buffer: SharedBuffer, clip_reader: ClipReader) -> None:
        self._buffer, self._pending, self._next_number = buffer, dict[int, PendingBatch](), 0
        self._task_read, self._task_write = os.pipe()
        self._selector = selectors.DefaultSelector()
        # Both by the file descriptor of the worker's reply pipe.
        self._processes: dict[int, subprocess.Popen] = {}
        self._received: dict[int, bytearray] = {}
        for _ in range(num_workers):
            replies, reply_write = os.pipe()
            process = _start_worker(buffer, self._task_read, reply_write, clip_reader)
            os.close(reply_write)
            self._processes[replies], self._received[replies] = process, bytearray()
            self._selector.register(replies, selectors.EVENT_READ)

    def __enter__(self) -> "WorkerPool":
        return self

    def __exit__(self, *_: object) -> None:
        """Withdraw the tasks that no worker has begun; a worker that finds no task exits."""
        # Closed first, so that the reads below come to an end. Setting the pipe to non-blocking
        # instead would fail the workers that wait at its other end.
        os.close(self._task_write)
        while os.read(self._task_read, 1 << 16):
            pass
        os.close(self._task_read)
        for replies, process in self._processes.items():
            os.close(replies)
            try:
                process.wait(_CLOSE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._selector.close()

    def submit(self, requests: Sequence[ReadRequest], num_bytes: int) -> PendingBatch | None:
        """Start to read a batch of `num_bytes`; None if the buffer has no room for it now."""
        size = -(-len(requests) // (_TASKS_PER_WORKER * len(self._processes)))
        groups = [pack_requests(requests[i : i + size]) for i in range(0, len(requests), size)]
        packed = self._buffer.allocate(sum(map(len, groups)))
        batch = self._buffer.allocate(num_bytes)
        if packed is None or batch is None:
            return None
        (start, packed_bytes), (batch_start, memory) = packed, batch
        packed_bytes[:] = np.frombuffer(b"".join(groups), np.uint8)
        pending = PendingBatch(number=self._next_number, memory=memory, num_unfinished=len(groups))
        pending.hold_buffer(packed_bytes)
        self._next_number = (self._next_number + 1) % (1 << 32)
        self._pending[pending.number] = pending
        for group in groups:
            task = TASK.pack(start, len(group), pending.number, batch_start, num_bytes)
            os.write(self._task_write, task)
            start += len(group)
        return pending

    def wait(self, pending: PendingBatch) -> np.ndarray:
        """Block until a batch is complete; returns its memory.

        Raises:
            UserError: a video cannot be read, or a worker was killed.
        """
        while pending.num_unfinished:
            for key, _ in self._selector.select():
                self._receive(key.fd)
        if pending.failure:
            raise pending.failure
        return pending.memory

    def _receive(self, replies: int) -> None:
        """Read what a worker has sent, and count its complete replies."""
        received = self._received[replies]
        data = os.read(replies, 1 << 16)
        if not data:
            raise _worker_exit_error(self._processes[replies].wait())
        received += data
        while len(received) >= REPLY.size:
            number, kind, size = REPLY.unpack_from(received)
            end = REPLY.size + size
            if len(received) < end:
                return
            message = received[REPLY.size : end].decode("utf-8", "surrogateescape")
            del received[:end]
            self._finish_task(number, kind, message)

    def _finish_task(self, number: int, kind: int, message: str) -> None:
        pending = self._pending[number]
        pending.finish_task(_failure(kind, message))
        if not pending.num_unfinished:
            del self._pending[number]


def _start_worker(
    buffer: SharedBuffer, tasks: int, replies: int, clip_reader: ClipReader
) -> subprocess.Popen:
    """Start a new interpreter without torch. Not a fork: CUDA does not survive one, and this
    process may hold gigabytes.

    Signals that ask a run to stop are handled by this process alone, so they are blocked in the
    workers from their first instruction.
    """
    descriptors = map(str, (buffer.file, buffer.num_bytes, tasks, replies))
    module = ("-P", "-m", "kdbatch.run.data.worker")  # never from the current folder
    old_mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
    try:
        return subprocess.Popen(
            [sys.executable, *module, *descriptors, *clip_reader.to_arguments()],
            pass_fds=(buffer.file, tasks, replies),
            stdin=subprocess.DEVNULL,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, old_mask)


def _failure(kind: int, message: str) -> Exception | None:
    """The error that a reply stands for; None for work that was done."""
    if kind == SYSTEM_ERROR:
        number, _, path = message.partition(" ")
        return OSError(int(number), os.strerror(int(number)), path)
    return {DONE: None, USER_ERROR: UserError(message), BUG: RuntimeError(message)}[kind]


def _worker_exit_error(code: int) -> Exception:
    if code < 0:
        return UserError(
            f"a decode worker was killed by {signal.Signals(-code).name} (SIGKILL: mostly for want "
            "of memory). Raise memory_gb under [resources] in kdbatch.toml, then go on "
            f"from its last checkpoint: {resume_command(retry_failed=True)}"
        )
    return RuntimeError(
        f"a decode worker exited with code {code}; its output is in the log of the run"
    )
