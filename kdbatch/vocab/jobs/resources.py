"""The request of a run to each of its nodes."""

from dataclasses import dataclass
from typing import Annotated

from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.jobs.sbatch_options import SbatchOptions


@dataclass(frozen=True, kw_only=True)
class Resources(SbatchOptions):
    """A run's request to each of its nodes; it has one process per GPU, or one without GPUs.

    Resources are not part of a run's id, as they do not change its numbers, with one exception:
    RSPNet and TDL on more than two GPUs normalise keys in smaller groups (run/tasks/momentum.py).
    """

    nodes: Annotated[int, Limits("nodes", least=1, most=10_000)] = 1
    """Nodes of a run."""
    gpus: Annotated[int, Limits("GPUs", least=0, most=1024)] = 1
    """GPUs on each node; one process for each."""
    cpus: Annotated[int, Limits("cores", least=1, most=100_000)] = 8
    """Cores on each node, for all of its processes."""
    minutes: Annotated[int, Limits("minutes", least=1, most=1_000_000)] = 1440
    """Time limit of a job. A run that needs longer is queued again and goes on."""
    memory_gb: Annotated[int, Limits("GB", least=0, most=1_000_000)] = 64
    """Memory on each node; 0: what the site gives without being asked."""
    max_memory_gb: Annotated[int, Limits("GB", least=0, most=1_000_000)] = 0
    """Most memory that a run may be given after it ran out of it; 0: what the largest node of its
    partition has.
    """
    runs_per_job: Annotated[int, Limits("runs", least=1, most=1000)] = 1
    """Runs that share a job on one node; each has the GPUs, cores and memory that are named here.
    A run that fails or is interrupted leaves the others alone.
    """
    compile: bool = True
    """Whether torch.compile makes networks faster on a GPU, where a run is long enough to earn its
    time back. This changes the order of sums, as another model of GPU does; a network that several
    processes train is not compiled, as its batch normalisations wait for each other.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limits(self)
        if self.runs_per_job > 1 and self.nodes > 1:
            raise UserError(
                f"runs_per_job: found {self.runs_per_job}, and nodes = {self.nodes}. "
                "Runs share a job on one node: leave one of them out."
            )

    @property
    def tasks_per_node(self) -> int:
        return max(1, self.gpus)

    @property
    def num_tasks(self) -> int:
        return self.nodes * self.tasks_per_node

    @property
    def cpus_per_task(self) -> int:
        return max(1, self.cpus // self.tasks_per_node)
