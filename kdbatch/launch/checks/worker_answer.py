"""Asks a worker's Python, in the image if there is one, for what this one may be unable to tell."""

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.output.visible_text import visible
from kdbatch.base.reading.documents import parse_json
from kdbatch.launch.container.command import as_argv, check_container, python_command
from kdbatch.launch.machine import ask
from kdbatch.vocab.config import Config

SECONDS = 300


class NoAnswerError(Exception):
    """The worker's Python cannot be asked here; the reason is one line."""


def worker_answer(
    module: str, question: Any, config: Config, *, folders: Iterable[Path] = ()
) -> Any:
    """The JSON in the last line that a module prints, which reads `question` as JSON.

    Raises:
        NoAnswerError: it cannot be started here, or prints something else.
    """
    try:
        check_container(config, on_this_machine=True)
        python = as_argv(python_command(config, folders=list(folders)))
        answer = ask((*python, "-P", "-m", module), stdin=json.dumps(question), seconds=SECONDS)
        lines = answer.text.strip().splitlines() or [""]
        return parse_json(lines[-1], where="the worker's answer")
    except (OSError, UserError, subprocess.TimeoutExpired) as error:
        raise NoAnswerError(visible(str(error).splitlines()[0])) from error
