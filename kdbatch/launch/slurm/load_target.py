"""The first process of a job's element: `python -m kdbatch.launch.slurm.load_target FOLDER`.

It calls the target that the submit has pickled with submitit. A pickle can do anything to whoever
loads it, so it is loaded only from a folder, and as a file, that the owner of the job alone can
change.
"""

import os
import stat
import sys
import time
from pathlib import Path

from submitit import JobEnvironment
from submitit.core.submission import process_job
from submitit.core.utils import JobPaths

from kdbatch.base.command_lines import shell_word
from kdbatch.base.errors import UserError
from kdbatch.base.output.visible_text import visible
from kdbatch.vocab.attempts.exit_rules import EXIT_USER

WAIT_SECONDS = 60
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def open_own_folder(folder: Path) -> int:
    """A descriptor of the folder, which stays the same one whatever is done to its path.

    Raises:
        UserError: it is somebody else's, is a link, or can be changed by others.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise UserError(f"{folder}: cannot be opened as a folder ({error.strerror})") from error
    _check_owner(os.fstat(descriptor), folder)
    return descriptor


def check_pickle(path: Path, *, shown: Path) -> None:
    """Check the pickle of this element; messages name it as `shown`. A file server may take a
    while to show a file to a node.

    Raises:
        UserError: it is missing, or as above.
    """
    for _ in range(WAIT_SECONDS):
        if path.is_symlink() or path.exists():
            break
        time.sleep(1)
    else:
        raise UserError(f"{shown}: is not there after {WAIT_SECONDS} s. Submit again")
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise UserError(f"{shown}: is not a file: it is not loaded. Submit again")
    _check_owner(status, shown)


def _check_owner(status: os.stat_result, path: Path) -> None:
    if status.st_uid not in (os.geteuid(), 0):
        raise UserError(
            f"{path}: belongs to user {status.st_uid}, and this job to user {os.geteuid()}: it is "
            "not loaded. Submit again"
        )
    if status.st_mode & _OTHERS_WRITE:
        raise UserError(
            f"{path}: can be changed by others (mode {stat.S_IMODE(status.st_mode):o}): it is not "
            f"loaded. Look at it, then: chmod go-w {shell_word(path)}"
        )


def main(folder: Path) -> int:
    """Exit code 2 where the pickle is not loaded; otherwise the target replaces this process."""
    try:
        opened = Path(f"/proc/self/fd/{open_own_folder(folder)}")
        pickle = JobPaths(opened, JobEnvironment().job_id).submitted_pickle
        check_pickle(pickle, shown=folder / pickle.name)
    except UserError as error:
        sys.stderr.write(f"kdbatch: {visible(str(error))}\n")
        return EXIT_USER
    process_job(opened)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
