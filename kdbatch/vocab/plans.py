"""Plans: what an experiment declares, which run has which role in which case, waves of runs."""

import contextlib
import dataclasses
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.command_lines import shell_line, submit_command
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import Identity, identity_of, paths_in
from kdbatch.base.parse import TextOrNumber, parse
from kdbatch.base.reading.field_facts import Count, Limits, OneLine, SameAs, check_limits
from kdbatch.base.reading.file_names import check_plain_name
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.metrics import Metric
from kdbatch.vocab.runs import OUTSIDE, Run
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.views import ClipRates

ClaimKind = Literal[
    "beats",
    "best_at",
    "mean_gain_at_least",
    "agrees_with_published",
    "fewer_blocks_than",
    "more_grid_than",
    "blocks_lower_accuracy",
]
MAP_CLAIMS: tuple[ClaimKind, ...] = ("fewer_blocks_than", "more_grid_than")


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of the report."""

    id: OneLine
    """Name of its files; tables, maps and claims of all experiments have ids of their own."""
    title: OneLine
    """Heading of the table."""
    rows: tuple[str, ...]
    """Roles, each a row: teachers, student, controls, references, probes."""
    columns: tuple[str, ...]
    """All axes, the outermost first; each of their cases is a column."""
    metric: Metric = "top1"
    """Number in the cells."""
    note: str = ""
    """A line below the table."""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of the source, in a form that can be checked."""

    id: OneLine
    """Name of the claim."""
    says: str
    """The statement, in words."""
    kind: ClaimKind
    """Form of the statement. beats: `who` is above every role of `than` in every case. best_at:
    `who` is highest where `axis` has `value`, for each of the other axes' cases.
    mean_gain_at_least: `who` minus the mean of `than`, averaged over cases, is at least `points`.
    agrees_with_published: the same gain is the published one, `points`, within the error of a study
    of one seed and `videos` test videos.
    fewer_blocks_than: the map `who` has a smaller block index than the maps `than`.
    more_grid_than: the kinds of layers explain more of the map `who` than of the maps `than`.
    blocks_lower_accuracy: over the maps of the role `who`, each of one case, a larger block index
    goes with a lower `metric`; with `axis`, within each value of that axis.
    """
    who: str
    """Role, or map, that the statement is about."""
    than: tuple[str, ...] = ()
    """Roles, or maps, that it is compared with."""
    axis: str = ""
    """Axis of best_at, and of blocks_lower_accuracy."""
    value: TextOrNumber = ""
    """Value of that axis at which `who` is best."""
    points: Annotated[
        float | None, Limits("percentage points", least=-1_000_000, most=1_000_000)
    ] = None
    """Gain of mean_gain_at_least, and the published one of agrees_with_published."""
    videos: Annotated[int | None, Limits("test videos", least=1, most=10**9)] = None
    """Test videos of the published gain of agrees_with_published."""
    metric: Metric = "top1"
    """Number that is compared."""
    averaged: bool = False
    """Whether beats and best_at compare averages over cases; otherwise the claim is about every
    case.
    """
    control: bool = False
    """Whether the claim is a control, and not a claim of the study or of its sources."""
    at: dict[str, TextOrNumber] = field(default_factory=dict)
    """Axis and value: only cases that have it count."""
    than_at: dict[str, TextOrNumber] = field(default_factory=dict)
    """The same for `than`, where its case is another: the student at 10k above teachers at 100k."""
    negated: bool = False
    """Whether the statement is that this is not so."""

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class Untestable:
    """A statement of the source that no result can contradict or support."""

    says: str
    """The statement, in words."""
    why: str
    """The reason why it cannot be tested."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """A CKA map of the layers of one network with themselves, or with those of another."""

    id: OneLine
    """Name of the map, by which claims refer to it."""
    title: OneLine
    """Heading of the map."""
    models: tuple[str, ...]
    """One role, or two."""
    at: dict[str, TextOrNumber]
    """Case that it is drawn for: a value of each axis."""
    layers: Literal["res", "act", "all"] = "act"
    """Layers to compare. res: stem, units and pool; act: every convolution, norm, ReLU, GELU,
    attention and unit; all: every module that runs, except dropout.
    """
    untrained: bool = False
    """Whether the map is that of a network as the role's, with random weights."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """Run `run_id` has the role `role` (T1, student, labels_only, map:...) in `case` (axis ->
    value) with `seed`, trained and tested on `fold` of its target.
    """

    role: str
    case: dict[str, str]
    seed: Annotated[int, SameAs(Run, "seed")]
    run_id: str
    fold: Annotated[int, Limits("fold", least=1, most=99)] = 1

    def __post_init__(self) -> None:
        check_plain_name(self.run_id, where="run_id")


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """How an experiment was submitted. `file` is its file as it was typed, relative to the folder
    of the study unless it is absolute; `local` is whether the runs went to the local queue, `jobs`
    its --jobs, 0 for none.
    """

    file: str
    local: bool
    jobs: Count = 0


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run of a submitted plan: what is shown of it when its folder is gone, and the hours of all
    of its devices together that it was expected to take; plans of older versions lack these.
    """

    id: str
    title: str
    kind: str
    device_hours: Annotated[float | None, Limits("hours", least=0, most=10**30)] = None

    def __post_init__(self) -> None:
        check_plain_name(self.id, where="id")


@dataclass(frozen=True, kw_only=True)
class PlanRecord:
    """`runs/plans/<experiment>.<profile>.json`: what one submitted experiment declares.

    `roles` maps a role to its title, `axes` an axis to its values in order. `references` are the
    roles that the student is compared with but does not learn from; `note` is the limitation of
    this profile's numbers. `source` is the name of the experiment's file.

    `runs` are all runs that it needs, parents before children, `rates` the frame rates of their
    videos. Files of older versions lack them, and how the experiment was `submitted`.
    """

    experiment: str
    title: str
    profile: str
    source: str
    axes: dict[str, tuple[str, ...]]
    roles: dict[str, str]
    tables: tuple[Table, ...]
    maps: tuple[Map, ...]
    claims: tuple[Claim, ...]
    cells: tuple[Cell, ...]
    references: tuple[str, ...] = ()
    note: str = ""
    untestable: tuple[Untestable, ...] = ()
    runs: tuple[RecordedRun, ...] = ()
    rates: tuple[ClipRates, ...] = ()
    submitted: Submitted | None = None
    question: OneLine = ""
    """Question that the experiment answers, in one sentence."""
    sources: tuple[OneLine, ...] = ()
    """Papers whose claims it checks: arXiv:2306.06010, doi:10.2307/4615733; none for a study of
    its own.
    """
    titles: dict[str, OneLine] = field(default_factory=dict)
    """Titles of values of axes: of the study's own data sets, and of networks and tasks of other
    packages. Those that kdbatch has itself are not among them, nor in files of older versions.
    """

    def __post_init__(self) -> None:
        check_plain_name(self.experiment, where="experiment")
        check_plain_name(self.profile, where="profile")

    @property
    def is_outside(self) -> bool:
        """Whether another trainer makes its runs."""
        return any(run.kind == OUTSIDE for run in self.runs)

    def cells_of(self, role: str) -> tuple[Cell, ...]:
        """The cells of a role, in their order."""
        return self._cells_by_role.get(role, ())

    def cells_by_case(self, role: str) -> tuple[tuple[tuple[int, Cell], ...], ...]:
        """The cells of a role, with their places among them, in one tuple for each case."""
        return self._cells_by_role_and_case.get(role, ())

    @cached_property
    def _cells_by_role_and_case(self) -> dict[str, tuple[tuple[tuple[int, Cell], ...], ...]]:
        found: dict[str, tuple[tuple[tuple[int, Cell], ...], ...]] = {}
        for role, cells in self._cells_by_role.items():
            by_case: dict[tuple[tuple[str, str], ...], list[tuple[int, Cell]]] = {}
            for i, cell in enumerate(cells):
                by_case.setdefault(tuple(cell.case.items()), []).append((i, cell))
            found[role] = tuple(map(tuple, by_case.values()))
        return found

    @cached_property
    def _cells_by_role(self) -> dict[str, tuple[Cell, ...]]:
        found: dict[str, list[Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.role, []).append(cell)
        return {role: tuple(cells) for role, cells in found.items()}


def save_record(runs_dir: Path, record: PlanRecord) -> Path:
    """Write the record under `runs_dir`, unless it is there already, and return its path."""
    path = runs_dir / "plans" / _file_name(record)
    with contextlib.suppress(UserError):
        if load_plan_record(path) == record:
            return path
    write_json(path, dataclasses.asdict(record))
    return path


def load_records(runs_dir: Path) -> tuple[PlanRecord, ...]:
    """Every plan that was submitted, by name.

    Raises:
        UserError: nothing was submitted yet, or a record is damaged.
    """
    records = find_records(runs_dir)
    if not records:
        raise UserError(
            f"{runs_dir}/plans holds no plan: nothing was submitted yet. "
            f"Start with: {submit_command(['jobs/subset_size.yaml'], profile='paper')}"
        )
    return records


def find_records(runs_dir: Path) -> tuple[PlanRecord, ...]:
    """Every plan that was submitted, by name; there may be none.

    Raises:
        UserError: a record is damaged, or (UnreadableError) cannot be read.
    """
    return tuple(load_plan_record(path) for path in record_paths(runs_dir))


def record_paths(runs_dir: Path) -> list[Path]:
    """The files of the submitted plans, by name.

    Raises:
        UnreadableError: their folder cannot be read.
    """
    return paths_in(runs_dir / "plans", ".json")


_READ: dict[Path, tuple[Identity | None, PlanRecord]] = {}


def load_plan_record(path: Path) -> PlanRecord:
    """The plan in a file; errors as of find_records. A file that was read is read again when it was
    replaced: that of 20,000 runs takes a second.

    A copy under another name would count its study twice, or in place of another.
    """
    identity = identity_of(path)
    known = _READ.get(path)
    if known and identity == known[0]:
        return known[1]
    record = parse(PlanRecord, load_json(path), where=str(path))
    if path.name != _file_name(record):
        raise UserError(
            f"{path}: is the plan {_file_name(record)} under another name. "
            f"Move it out of the folder: {shell_line('mv', path, path.parent.parent)}"
        )
    _READ[path] = (identity, record)
    return record


def _file_name(record: PlanRecord) -> str:
    return f"{record.experiment}.{record.profile}.json"


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
