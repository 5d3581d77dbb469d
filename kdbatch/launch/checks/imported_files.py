"""Compares the files of imports with their networks and videos, before a run starts.

Only a worker's Python has the packages that read weights, so it is asked, in the image if there is
one.
"""

import dataclasses
import json
import subprocess

from kdbatch.base.errors import UserError
from kdbatch.base.output.visible_text import visible
from kdbatch.base.reading.documents import parse_json
from kdbatch.launch.container.command import as_argv, check_container, python_command
from kdbatch.launch.machine import ask
from kdbatch.launch.run_folders import assignment_for
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans import Plan

SECONDS = 300


def check_imported_files(plan: Plan, config: Config) -> tuple[str, ...]:
    """Compare the files of imports that are still to be done; return a line if that is not possible
    here.

    Outputs and classes are compared once the videos are stored.

    Raises:
        UserError: a file is not what its run needs; one line each, then the names that differ.
    """
    files = {
        planned.file.resolve(): assignment_for(planned, config=config)
        for planned in plan.runs
        if planned.file and not planned.done and not planned.provisional
    }
    if not files:
        return ()
    question = [[dataclasses.asdict(assignment), str(path)] for path, assignment in files.items()]
    folders = dict.fromkeys((config.shards_dir, *(path.parent for path in files)))
    try:
        check_container(config, on_this_machine=True)
        python = as_argv(python_command(config, folders=folders))
        command = (*python, "-m", "kdbatch.run.imports")
        answer = ask(command, stdin=json.dumps(question), seconds=SECONDS)
        lines = answer.text.strip().splitlines() or [""]
        found = parse_json(lines[-1], where="the worker's answer")
    except (OSError, UserError, subprocess.TimeoutExpired) as error:
        reason = visible(str(error).splitlines()[0])
        return (f"the files of imports are compared when their runs start, not here ({reason})",)
    if problems := [line for lines in found for line in lines]:
        raise UserError(*problems)
    return ()
