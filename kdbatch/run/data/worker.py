"""A process that reads clips: `python -m kdbatch.run.data.worker`, started by
run/data/worker_pool.py and by nobody else.

It ends when there is no more work to come, which is also what it sees when its parent has died.
"""

import mmap
import os
import sys
import traceback
from collections.abc import Sequence

import numpy as np

from kdbatch.base.errors import UserError
from kdbatch.run.data.clip_reader import ClipReader, unpack_requests
from kdbatch.run.data.worker_pool import BUG, DONE, REPLY, TASK, USER_ERROR


def main(argv: Sequence[str]) -> None:
    """Work until the pipe of tokens ends. Arguments: ring, its bytes, pipe of tokens, pipe for
    answers (file numbers), then those of the ClipReader.
    """
    ring, num_bytes, work, answers = map(int, argv[:4])
    clip_reader = ClipReader.from_arguments(argv[4:])
    memory = np.frombuffer(mmap.mmap(ring, num_bytes), np.uint8)
    while token := os.read(
        work, TASK.size
    ):  # the kernel gives a whole token to one reader: all are written and read in one size
        kind, message, number = _serve(token, memory, clip_reader)
        try:
            os.write(answers, REPLY.pack(number, kind, len(message)) + message)
        except BrokenPipeError:
            return


def _serve(token: bytes, memory: np.ndarray, clip_reader: ClipReader) -> tuple[int, bytes, int]:
    start, size, number, batch_start, batch_bytes = TASK.unpack(token)
    try:
        batch = memory[batch_start : batch_start + batch_bytes]
        for request in unpack_requests(memory[start : start + size].tobytes()):
            clip_reader.read_clips(request, batch)
    except UserError as error:
        return USER_ERROR, str(error).encode("utf-8", "replace"), number
    except Exception:
        return BUG, traceback.format_exc().encode("utf-8", "replace"), number
    return DONE, b"", number


if __name__ == "__main__":
    main(sys.argv[1:])
