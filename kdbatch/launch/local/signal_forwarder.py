"""Forwards signals from the local queue to a container, and ends the container with the queue.

The kernel signals a child when its parent dies only if no process in between changes credentials,
as a container runtime does. `python -m kdbatch.launch.local.signal_forwarder COMMAND...` exits with
the command's code, or with 128 plus the number of the signal that ended it.
"""

import signal
import subprocess
import sys
from collections.abc import Sequence

from kdbatch.base.processes import signal_on_parent_exit
from kdbatch.launch.machine import queue_pid


def main(command: Sequence[str]) -> int:
    """Run the command, forward signals to it, and return its exit code."""
    received: list[int] = []
    children: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: object) -> None:
        received.append(number)
        for child in children:
            child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
        signal.signal(number, forward)
    queue_is_alive = signal_on_parent_exit(queue_pid())
    if received or not queue_is_alive:
        return 128 + signal.SIGTERM
    children.append(subprocess.Popen(command))
    for number in received:  # while the child was started
        children[0].send_signal(number)
    code = children[0].wait()
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
