"""Starts compile_shell.py, and reads what it found."""

import os
import subprocess
import sys
from pathlib import Path

SHELL = Path(__file__).with_name("compile_shell.py")


def start(action: str, kind: str, **environ: str) -> "subprocess.Popen[str]":
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-W", "error::RuntimeWarning", str(SHELL), action, kind]
    env = {**os.environ, "PYTHONPATH": paths, **environ}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)


def finish(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """The number of graphs, and what was logged. Raises where a result differs."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return int(output), errors
