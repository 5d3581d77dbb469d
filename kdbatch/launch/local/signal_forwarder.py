"""Between the local queue and a container: hands signals on, and ends the container's run when the
queue is gone.

The kernel tells a child of its parent's death only if nobody in between changes credentials, as a
container runtime does. `python -m kdbatch.launch.local.signal_forwarder WORDS...`; exits as WORDS
do, with 128 more than its number for a signal.
"""

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from kdbatch.launch.machine import queue_pid

PR_SET_PDEATHSIG = 1


def main(command: Sequence[str]) -> int:
    asked: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def hand_on(number: int, _frame: object) -> None:
        asked.append(number)
        for child in children:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, hand_on)
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if asked or os.getppid() != queue_pid():  # it died before the call
        return 128 + signal.SIGTERM
    children.append(subprocess.Popen(command))
    for number in asked:  # while the child was made
        children[0].send_signal(number)
    code = children[0].wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
