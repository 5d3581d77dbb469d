"""`kdbatch run`."""

from pathlib import Path

from kdbatch.base.command_lines import status_command
from kdbatch.base.errors import UserError
from kdbatch.cli.terminal import print_line
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import load_status


def run_here(run_dir: Path) -> int:
    """Run one folder in this process; returns the worker's exit code."""
    folder = RunFolder(run_dir.resolve())  # whose name is the run's id, also for `.`
    if not folder.assignment.is_file():
        raise UserError(
            f"{run_dir}: is no run folder, because it has no {folder.assignment.name}. Run folders "
            f"are runs/ID; the ids are in: {status_command()}"
        )
    folder.load(
        to_train=not folder.is_done()
    )  # fails before the seconds that importing torch takes
    from kdbatch.run.heartbeat import StopSignal
    from kdbatch.run.main import main as run_worker

    code = run_worker([str(run_dir)], stop=StopSignal().listen())
    if status := load_status(folder.status):
        details = status.reason or status.metric
        print_line(f"{status.state}: {run_dir}" + (f": {details}" if details else ""))
    return code
