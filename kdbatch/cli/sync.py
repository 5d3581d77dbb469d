"""`kdbatch sync`: brings a tracker up to date with the runs, and prints how to look at it."""

from pathlib import Path

from kdbatch.base.command_lines import shell_word, submit_command, sync_command
from kdbatch.base.errors import UserError
from kdbatch.base.locks import hold_lock_if_free
from kdbatch.base.text import plural
from kdbatch.cli.live.progress import progress
from kdbatch.cli.study import check_target
from kdbatch.cli.terminal import print_line, warn
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.squeue.shared_answers import JobsCache
from kdbatch.sync.tracker import Tracker, sync_runs, translate_tracker_errors
from kdbatch.vocab.config import load_config
from kdbatch.vocab.status import RunState


def sync_tensorboard(folder: Path) -> None:
    """`kdbatch sync tensorboard`."""
    check_target(folder, load_config(), spelling=sync_command("tensorboard", "FOLDER"))
    from kdbatch.sync.to_tensorboard import TensorboardLog  # an extra

    _sync("tensorboard", str(folder), TensorboardLog(folder))
    print_line(f"See them: tensorboard --logdir {shell_word(folder)}")


def sync_wandb(project: str) -> None:
    """`kdbatch sync wandb`."""
    from kdbatch.sync.to_wandb import WandbProject  # an extra

    with translate_tracker_errors("wandb", project):
        tracker = WandbProject(project)
    _sync("wandb", project, tracker)
    if tracker.mode == "offline":
        folder = shell_word(tracker.folder)
        print_line(f"Nothing was sent. Upload them: wandb sync {folder}/offline-run-*")
        print_line(f"To send at once: WANDB_MODE=online {sync_command('wandb', project)}")


def sync_mlflow(target: str) -> None:
    """`kdbatch sync mlflow`."""
    if ":" not in target:
        check_target(Path(target), load_config(), spelling=sync_command("mlflow", "FOLDER"))
    from kdbatch.sync.to_mlflow import MlflowStore  # an extra

    with translate_tracker_errors("mlflow", target):
        tracker = MlflowStore(target)
    _sync("mlflow", target, tracker)
    if tracker.is_local:
        print_line(f"See them: mlflow ui --backend-store-uri {shell_word(tracker.uri)}")


def _sync(package: str, target: str, tracker: Tracker) -> None:
    """Write the news of all runs, unless another process does so now."""
    config = load_config()
    lock = tracker.lock or config.runs_dir / f"sync-{package}.lock"
    with hold_lock_if_free(lock) as is_free, translate_tracker_errors(package, target):
        if not is_free:
            warn(f"another process writes to {target} now: nothing was done")
            return
        jobs = JobsCache(config.runs_dir, warn=warn)
        rows = load_run_rows(config.runs_dir, live=jobs.live())
        states: dict[str, RunState] = {row.run_id: row.state for row in rows}
        if not states:
            start = submit_command(["jobs/subset_size.yaml"], profile="paper")
            raise UserError(f"No runs in {config.runs_dir}/ yet. Start some: {start}")
        with progress(f"sync {package}") as show:
            summary = sync_runs(config.runs_dir, states, tracker, progress=show)
    for line in summary.warnings:
        warn(line)
    waiting = f", {plural(summary.waiting, 'run')} not started yet" if summary.waiting else ""
    print_line(f"{target}: {plural(summary.total, 'run')}, {summary.updated} with news{waiting}")
