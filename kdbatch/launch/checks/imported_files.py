"""Compares the files of imports with their networks and videos, before a run starts.

Only a worker's Python has the packages that read weights, so it is asked, in the image if there is
one.
"""

import dataclasses

from kdbatch.base.errors import UserError
from kdbatch.launch.checks.worker_answer import NoAnswerError, worker_answer
from kdbatch.launch.run_folders import assignment_for
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan


def check_imported_files(plan: Plan, config: Config) -> tuple[str, ...]:
    """Compare the files of imports that are still to be done; return a line if that is not possible
    here.

    Outputs and classes are compared once the videos are stored.

    Raises:
        UserError: a file is not what its run needs; one line each, then the names that differ.
    """
    shards_dir = config.shards_dir.resolve()
    files = {
        planned.file.resolve(): assignment_for(planned, config=config, shards_dir=shards_dir)
        for planned in plan.runs
        if planned.file and not planned.done and not planned.provisional
    }
    if not files:
        return ()
    question = [[dataclasses.asdict(assignment), str(path)] for path, assignment in files.items()]
    folders = dict.fromkeys((config.shards_dir, *(path.parent for path in files)))
    try:
        found = worker_answer("kdbatch.run.imports", question, config, folders=folders)
    except NoAnswerError as error:
        return (f"the files of imports are compared when their runs start, not here ({error})",)
    if problems := [line for lines in found for line in lines]:
        raise UserError(*problems)
    return ()
