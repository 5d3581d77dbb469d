"""`kdbatch shard --slurm`: ranges of missing shards as elements of a SLURM array. Each is the same command, with `--shards`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbatch.launch.journal import Submission, live_job_ids, load_submission, save_submission
from kdbatch.launch.locks import holding
from kdbatch.launch.slurm import submit_targets
from kdbatch.launch.target import ShardTarget
from kdbatch.vocab.config import SHARD, Config
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.runs import Resources

RESOURCES = Resources(gpus=0, cpus=8, minutes=480, memory_gb=16)


@dataclass(frozen=True, kw_only=True)
class ShardArray:
    """`words` are those of the whole command; element i gets `--shards` with ranges[i] on top, and runs in the folder `cwd`.

    `binds` are the folders that the command reads and writes, for an image.
    """

    name: str
    words: tuple[str, ...]
    ranges: tuple[range, ...]
    folder: Path
    cwd: Path
    binds: tuple[Path, ...]

    @property
    def targets(self) -> tuple[ShardTarget, ...]:
        return tuple(
            ShardTarget(
                cwd=str(self.cwd.resolve()), words=(*self.words, f"--shards={shards.start}:{shards.stop}"), log=str(self.log(shards))
            )
            for shards in self.ranges
        )

    def log(self, shards: range) -> Path:
        return (self.folder / f"shards-{shards.start:05d}-{shards.stop:05d}.log").resolve()


def num_elements(num_missing: int, *, config: Config) -> int:
    """As many elements as may run at a time; fewer where there are fewer shards."""
    return min(num_missing, config.site.max_concurrent, config.site.max_array_size)


def shard_resources(config: Config) -> Resources:
    return config.resources.get(SHARD, RESOURCES)


def submit_shard_array(array: ShardArray, *, config: Config) -> tuple[str, ...]:
    """One sbatch; returns the job id of each element.

    Raises:
        UserError: an earlier array works on the same part still, or sbatch refuses.
    """
    with holding(array.folder / "submit.lock"):
        _check_idle(array)
        job_ids = submit_targets(
            array.targets,
            name=array.name,
            resources=shard_resources(config),
            folder=array.folder,
            config=config,
            binds=array.binds,
        )
        number = job_ids[0].partition("_")[0]
        save_submission(array.folder.parent, Submission(run_id=array.folder.name, job_id=number, submitted_at=time.time()))
    return job_ids


def _check_idle(array: ShardArray) -> None:
    before = load_submission(array.folder.parent, array.folder.name)
    working = _elements_of(before.job_id, live_job_ids()) if before else ()
    if before and working:
        raise UserError(
            f"{array.name}: {len(working)} elements of job {before.job_id} are still in the queue. Wait, or: scancel {before.job_id}"
        )


def _elements_of(number: str, job_ids: Sequence[str] | frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(job_id for job_id in job_ids if job_id.partition("_")[0] == number))
