"""`kdbatch shard --slurm`: ranges of missing shards as elements of a SLURM array."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.locks import hold_lock
from kdbatch.base.text import plural
from kdbatch.launch.container.pull import prepare_container
from kdbatch.launch.slurm.answers import QueuedJob
from kdbatch.launch.slurm.job.job_script import check_submit_folder
from kdbatch.launch.slurm.sbatch.submit_targets import submit_targets
from kdbatch.launch.slurm.squeue.recovery import recover
from kdbatch.launch.slurm.submissions import load_sbatches
from kdbatch.launch.slurm.target import ModuleTarget
from kdbatch.vocab.config import SHARD, Config


@dataclass(frozen=True, kw_only=True)
class ShardArray:
    """One sbatch. Element i runs `kdbatch ARGUMENTS --shards=RANGE` with ranges[i], in the folder
    `cwd`.

    `folder` takes the logs. `binds` are the folders that the command needs inside an image.
    """

    name: str
    arguments: tuple[str, ...]
    ranges: tuple[range, ...]
    folder: Path
    cwd: Path
    binds: tuple[Path, ...]

    @property
    def targets(self) -> dict[str, ModuleTarget]:
        """The target of each element, by its range, such as 40:80."""
        targets: dict[str, ModuleTarget] = {}
        for shards in self.ranges:
            text = f"{shards.start}:{shards.stop}"
            targets[text] = ModuleTarget(
                cwd=str(self.cwd.resolve()),
                arguments=("kdbatch", *self.arguments, f"--shards={text}"),
                log=str(self.log(shards)),
            )
        return targets

    def log(self, shards: range) -> Path:
        """The file to which the element of these shards prints."""
        return (self.folder / f"shards-{shards.start:05d}-{shards.stop:05d}.log").resolve()


def num_elements(num_missing: int, *, config: Config) -> int:
    """The number of elements of the array: as many as may run at a time, or one per missing shard
    where those are fewer.
    """
    return min(num_missing, config.site.max_concurrent, config.site.max_array_size)


def submit_shard_array(array: ShardArray, *, config: Config) -> tuple[str, ...]:
    """Submit the array with one sbatch and return the job id of each element.

    Raises:
        UserError: an earlier array of the same part is still in the queue, the container or its
        Python is missing, or sbatch refuses.
    """
    prepare_container(config, on_this_machine=False)
    check_submit_folder(array.folder)
    with hold_lock(array.folder.parent / "submit.lock"):
        _check_idle(array, recover(array.folder.parent))
        submitted = submit_targets(
            array.targets,
            wave=array.name,
            resources=config.resources_of(SHARD),
            folder=array.folder,
            config=config,
            binds=array.binds,
        )
    return tuple(submitted.values())


def _check_idle(array: ShardArray, queue: Iterable[QueuedJob]) -> None:
    before = load_sbatches(array.folder.parent).get(array.folder)
    if before is None:
        return
    queued = [job for job in queue if job.number == before.number]
    if queued:
        raise UserError(
            f"{array.name}: {plural(len(queued), 'element')} of job {before.number} "
            f"{'is' if len(queued) == 1 else 'are'} still in the queue. "
            f"Wait, or: scancel {before.number}"
        )
