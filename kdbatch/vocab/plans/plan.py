"""The plan of experiments: all runs that they need, their cost, waves that may start together."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from kdbatch.base.reading.field_facts import Count, Limits
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.plans.records import PlanRecord
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shard_request import ShardRequest

DeviceKind = Literal["GPU", "CPU"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The expected cost of a run. `device_hours` are hours of all of its devices together,
    `read_bytes` are those that its steps and tests read from shards.

    The rate is that of `num_measured` finished runs on `device_title`, or assumed for it (0); of
    the networks `unmeasured`, by title, no speed was measured on any device.
    """

    device: DeviceKind = "GPU"
    device_title: str = ""
    num_measured: Count = 0
    unmeasured: tuple[str, ...] = ()
    device_hours: Annotated[float, Limits("hours", least=0, most=10**30)] = 0.0
    read_bytes: Annotated[float, Limits("bytes", least=0, most=10**30)] = 0.0


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """A Run, its title, resources and state. `used_by` are the experiments that need it.

    A run is `provisional` while videos of it, or of a run that it learns from, are not stored: its
    id will be another one. `file` is what an import reads.
    """

    run: Run
    title: str
    resources: Resources
    done: bool
    used_by: tuple[str, ...]
    provisional: bool = False
    cost: Estimate = Estimate()
    file: Path | None = None

    @property
    def hours(self) -> float:
        """The estimated time from its start to its end."""
        return self.cost.device_hours / self.resources.num_tasks


@dataclass(frozen=True, kw_only=True)
class MissingShards:
    """Videos of one part of a data set that a plan needs and that are not stored; `request` stores
    them.

    `num_stored` of the `num_needed` are there. `num_in_source` is how many there were in the folder
    of the videos when they were stored, None before that.
    """

    part: str
    request: ShardRequest
    num_needed: Count
    num_stored: Count = 0
    num_in_source: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Wave:
    """Runs of one kind that may start together on equal Resources: one SLURM array (more where the
    site's limit splits it).
    """

    name: str
    resources: Resources
    run_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Unique runs, parents before children; `waves` hold those that are not done, in order.

    `shard_bytes` is the size of the shards that the runs read, `missing` what is to be stored
    before they can be started. A missing number of videos is the published one. `warnings` are
    lines about finished runs that tell no speed, and about runs of another trainer. `encodings`
    says how each data set is stored (`ShardIndex.encoding`).
    """

    records: tuple[PlanRecord, ...]
    runs: tuple[PlannedRun, ...]
    waves: tuple[Wave, ...]
    shard_bytes: Annotated[float, Limits("bytes", least=0, most=10**30)] = 0.0
    missing: tuple[MissingShards, ...] = ()
    warnings: tuple[str, ...] = ()
    encodings: dict[str, str] = field(default_factory=dict)
