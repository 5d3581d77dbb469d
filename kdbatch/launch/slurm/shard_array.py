"""`kdbatch shard --slurm`: ranges of missing shards as elements of a SLURM array. Each is the same
command, with `--shards`.
"""

from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.locks import hold_lock
from kdbatch.launch.container.command import check_container
from kdbatch.launch.slurm.commands import queued_jobs
from kdbatch.launch.slurm.submissions import load_sbatches, recover
from kdbatch.launch.slurm.submit import submit_targets
from kdbatch.launch.slurm.target import ModuleTarget
from kdbatch.vocab.config import SHARD, SHARD_RESOURCES, Config
from kdbatch.vocab.runs import Resources


@dataclass(frozen=True, kw_only=True)
class ShardArray:
    """`words` are those of the whole command; element i gets `--shards` with ranges[i] on top, and
    runs in the folder `cwd`.

    `binds` are the folders that the command reads and writes, for an image.
    """

    name: str
    arguments: tuple[str, ...]
    ranges: tuple[range, ...]
    folder: Path
    cwd: Path
    binds: tuple[Path, ...]

    @property
    def targets(self) -> dict[str, ModuleTarget]:
        """By the words of their ranges, 40:80."""
        words = {shards: f"{shards.start}:{shards.stop}" for shards in self.ranges}
        return {
            text: ModuleTarget(
                cwd=str(self.cwd.resolve()),
                arguments=("kdbatch", *self.arguments, f"--shards={text}"),
                log=str(self.log(shards)),
            )
            for shards, text in words.items()
        }

    def log(self, shards: range) -> Path:
        return (self.folder / f"shards-{shards.start:05d}-{shards.stop:05d}.log").resolve()


def num_elements(num_missing: int, *, config: Config) -> int:
    """As many elements as may run at a time; fewer where there are fewer shards."""
    return min(num_missing, config.site.max_concurrent, config.site.max_array_size)


def shard_resources(config: Config) -> Resources:
    return config.resources.get(SHARD, SHARD_RESOURCES)


def submit_shard_array(array: ShardArray, *, config: Config) -> tuple[str, ...]:
    """One sbatch; returns the job id of each element.

    Raises:
        UserError: an earlier array works on the same part still, the nodes would have no Python for
        it, or sbatch refuses.
    """
    check_container(config, on_this_machine=False)
    with hold_lock(array.folder.parent / "submit.lock"):
        recover(array.folder.parent)
        _check_idle(array)
        submitted = submit_targets(
            array.targets,
            wave=array.name,
            resources=shard_resources(config),
            folder=array.folder,
            config=config,
            binds=array.binds,
        )
    return tuple(submitted.values())


def _check_idle(array: ShardArray) -> None:
    before = load_sbatches(array.folder.parent).get(array.folder)
    working = [job for job in queued_jobs() if job.number == before.number] if before else []
    if before and working:
        raise UserError(
            f"{array.name}: {len(working)} elements of job {before.number} are still in the queue. Wait, or: scancel {before.number}"
        )
