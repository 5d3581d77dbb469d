"""Take runs out of SLURM's queue."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.locks import hold_lock, is_held
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.commands import queued_jobs, run_command
from kdbatch.launch.slurm.submissions import last_submissions, recover
from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.status import load_status

MAX_JOB_IDS = 500  # job ids on one command line


@dataclass(frozen=True, kw_only=True)
class Cancelled:
    """The jobs that were cancelled, and the runs that a local queue works on: by whom."""

    job_ids: tuple[str, ...]
    local: dict[str, str]


def cancel_runs(runs_dir: Path, run_ids: Sequence[str] | None) -> Cancelled:
    """Cancel the jobs of these runs, or of all. Who submits meanwhile in another shell waits, so
    that no job slips through.

    Raises:
        UserError: SLURM does not answer.
    """
    home = submissions_dir(runs_dir)
    with hold_lock(runs_dir / "submit.lock"):
        recover(home)
        submitted = last_submissions(home)
        wanted = (
            submitted
            if run_ids is None
            else {run_id: submitted[run_id] for run_id in run_ids if run_id in submitted}
        )
        live = {job.id for job in queued_jobs()} if wanted else set()
        jobs = {run_id: s.job_id for run_id, s in wanted.items() if s.job_id in live}
        ids = tuple(jobs.values())
        for first in range(0, len(ids), MAX_JOB_IDS):
            run_command("scancel", *ids[first : first + MAX_JOB_IDS])
    asked = [path.parent.name for path in runs_dir.glob("r*/lock")] if run_ids is None else run_ids
    held = [
        RunFolder(runs_dir / run_id)
        for run_id in asked
        if run_id not in jobs and is_held(runs_dir / run_id / "lock")
    ]
    return Cancelled(job_ids=ids, local={folder.id: _holder(folder) for folder in held})


def _holder(folder: RunFolder) -> str:
    status = load_status(folder.status)
    return f"process {status.pid} on {status.host}" if status else "another process"
