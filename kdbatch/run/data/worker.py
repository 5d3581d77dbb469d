"""Entry point of a decode worker: `python -m kdbatch.run.data.worker`, started by WorkerPool.

It exits at the end of the task pipe, which is also what the death of its parent causes.
"""

import mmap
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdbatch.base.disk_space import LOST_DISK_ERRORS, OPEN_FILES_ERRORS, system_error
from kdbatch.base.errors import UserError
from kdbatch.run.data.clip_reader import ClipReader, unpack_requests
from kdbatch.run.data.worker_pool import BUG, DONE, REPLY, SYSTEM_ERROR, TASK, USER_ERROR


def main(argv: Sequence[str]) -> None:
    """Carry out tasks until the task pipe ends.

    Arguments: the file descriptor of the shared buffer, its size in bytes, the descriptors of the
    task pipe and of the reply pipe, then `ClipReader.to_arguments()`.
    """
    buffer, num_bytes, tasks, replies = map(int, argv[:4])
    clip_reader = ClipReader.from_arguments(argv[4:])
    memory = np.frombuffer(mmap.mmap(buffer, num_bytes), np.uint8)
    # A read returns a whole task to one worker: all tasks are written and read in one size.
    while task := os.read(tasks, TASK.size):
        kind, message, number = _run_task(task, memory, clip_reader)
        try:
            os.write(replies, REPLY.pack(number, kind, len(message)) + message)
        except BrokenPipeError:
            return


def _run_task(task: bytes, memory: np.ndarray, clip_reader: ClipReader) -> tuple[int, bytes, int]:
    start, size, number, batch_start, batch_bytes = TASK.unpack(task)
    try:
        batch = memory[batch_start : batch_start + batch_bytes]
        for request in unpack_requests(memory[start : start + size].tobytes()):
            clip_reader.read_clips(request, batch)
    except Exception as error:
        if system := system_error(error, LOST_DISK_ERRORS | OPEN_FILES_ERRORS, path=Path()):
            message = f"{system.errno} {system.filename}"
            return SYSTEM_ERROR, message.encode("utf-8", "surrogateescape"), number
        if isinstance(error, UserError):
            return USER_ERROR, str(error).encode("utf-8", "replace"), number
        return BUG, traceback.format_exc().encode("utf-8", "replace"), number
    return DONE, b"", number


if __name__ == "__main__":
    main(sys.argv[1:])
