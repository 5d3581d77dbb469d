"""`submission.json`: a Run met a scheduler. Written beside `run.json` right after sbatch, and asked again before the next one."""

import dataclasses
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from kdbatch.vocab.errors import UserError
from kdbatch.vocab.publish import load_json, publish_json
from kdbatch.vocab.read import read


@dataclass(frozen=True, kw_only=True)
class Submission:
    """`job_id` is `41` or, in an array, `41_3`. `submitted_at` is in seconds since 1970."""

    run_id: str
    job_id: str
    submitted_at: float


def save_submission(runs_dir: Path, submission: Submission) -> None:
    publish_json(_path(runs_dir, submission.run_id), dataclasses.asdict(submission))


def load_submission(runs_dir: Path, run_id: str) -> Submission | None:
    """The last submission of a run; None where there was none, or where a damaged file would only say less than squeue does."""
    path = _path(runs_dir, run_id)
    try:
        return read(Submission, load_json(path), where=str(path)) if path.exists() else None
    except UserError:
        return None


def live_job_ids() -> frozenset[str]:
    """Our jobs that SLURM has not ended, pending ones included, one id per array element; none where there is no SLURM.

    Raises:
        UserError: squeue does not answer. Without it a run could be submitted twice.
    """
    if not shutil.which("squeue"):
        return frozenset()
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    except subprocess.CalledProcessError as error:
        raise UserError(f"{' '.join(command)}: {error.stderr.strip() or 'failed'}. Is the controller up? Ask it: scontrol ping") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{' '.join(command)}: no answer within 2 minutes. Is the controller up? Ask it: scontrol ping") from error
    return frozenset(asked.stdout.split())


def live_jobs(runs_dir: Path, run_ids: tuple[str, ...]) -> dict[str, str]:
    """Job ids, by run, of the runs whose last submission is still in the queue."""
    submitted = [s for run_id in run_ids if (s := load_submission(runs_dir, run_id))]
    live = live_job_ids() if submitted else frozenset()
    return {s.run_id: s.job_id for s in submitted if s.job_id in live}


def _path(runs_dir: Path, run_id: str) -> Path:
    return runs_dir / run_id / "submission.json"
