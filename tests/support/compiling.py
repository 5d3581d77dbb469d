"""Starts compile_shell.py, and reads what it found."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SHELL = Path(__file__).with_name("compile_shell.py")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The outcome of one action; an action whose results differ has an error."""

    num_graphs: int
    log: str
    error: str


def start(*actions: str, **environ: str) -> "subprocess.Popen[str]":
    """Start a process that takes actions one by one; each is written as ACTION/KIND."""
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [sys.executable, "-W", "error::RuntimeWarning", str(SHELL), *actions]
    env = {**os.environ, "PYTHONPATH": paths, **environ}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, text=True)


def finish(process: "subprocess.Popen[str]") -> list[Outcome]:
    """Wait for the process, and return the outcomes of its actions, in their order."""
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    return [Outcome(**found) for found in json.loads(output)]
