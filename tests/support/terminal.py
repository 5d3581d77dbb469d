"""Commands in a pseudo-terminal, and the lines that a person sees there."""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Everything that was drawn, line by line, and the exit code."""

    lines: list[str]
    code: int


def on_terminal(
    *words: str,
    cwd: Path,
    columns: int = 80,
    rows: int = 24,
    interrupt_when: Callable[[], bool] | None = None,
    timeout: float = 120,
) -> Screen:
    """Run `kdbatch` in a terminal of this size; type Ctrl-C once `interrupt_when` is true."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, *words],
        cwd=cwd,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment | {"TERM": "xterm"},
        start_new_session=True,
    )
    os.close(theirs)
    drawn, deadline = b"", time.monotonic() + timeout
    while time.monotonic() < deadline:
        if interrupt_when and interrupt_when():
            os.write(ours, b"\x03")
            interrupt_when = None
        if select.select([ours], [], [], 0.05)[0]:
            try:
                drawn += os.read(ours, 65536)
            except OSError:  # Linux: the other side is closed
                break
    os.close(ours)
    if time.monotonic() >= deadline:
        process.kill()
    text = ESCAPES.sub("", drawn.decode(errors="replace")).replace("^C", "")  # its echo
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", text)]
    return Screen(lines=[line for line in lines if line], code=process.wait(timeout=30))


# The terminal must be the controlling one of the new session, or it sends no Ctrl-C.
_TAKE_TERMINAL = """\
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
from kdbatch.__main__ import main
sys.argv[0] = "kdbatch"
main()
"""
