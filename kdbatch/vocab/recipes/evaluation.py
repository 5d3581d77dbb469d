"""How a network is tested, and which epoch of it is kept."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.shards.subset import Subset


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How a network is tested: softmax averaged over clips and crops of each test video.

    Objects appear 1/8 smaller in one crop than in three, and than in the one crop of VCOP and PRP.
    """

    test: Subset
    num_clips: Annotated[int, Limits("clips", least=1, most=10_000, advice="; 10 is usual")] = 10
    """Clips of each test video, spread evenly over it."""
    num_crops: Literal[1, 3] = 1
    """Crops of each test clip: the largest centre square (1, RSPNet's test), or squares of 7/8 of
    the short side at the start, middle and end of the long side (3).
    """

    def __post_init__(self) -> None:
        check_limits(self)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Model selection: keep the epoch with the best top-1 on videos held out of the training split.

    The earliest of equal epochs is kept.
    """

    share: Annotated[
        float,
        Limits(
            "share", least=0.001, most=0.5, advice=", or leave selection out to keep the last epoch"
        ),
    ]
    """Share of the training videos that are held out, in whole groups, the same for every seed."""
    every_epochs: Annotated[int, Limits("epochs", least=1, most=100_000)] = 1
    """Epochs between evaluations; the last epoch is always evaluated."""
    num_clips: Annotated[int, Limits("clips", least=1, most=10_000)] = 3
    """Clips of each held-out video."""

    def __post_init__(self) -> None:
        check_limits(self)
