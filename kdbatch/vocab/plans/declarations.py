"""Tables, maps and claims that an experiment declares for its report."""

from dataclasses import dataclass, field
from typing import Annotated, Literal

from kdbatch.base.reading.field_facts import Limits, OneLine, check_limits
from kdbatch.base.reading.field_types import TextOrNumber
from kdbatch.vocab.metrics import Metric

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
