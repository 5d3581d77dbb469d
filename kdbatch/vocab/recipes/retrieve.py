"""The recipe of a nearest-neighbour retrieval."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import View

Rank = Annotated[int, Limits("neighbours", least=1, most=1_000_000)]


@dataclass(frozen=True, kw_only=True)
class Retrieve:
    """Nearest-neighbour retrieval with the features of its one parent's backbone, without training.

    Without a parent the backbone has random weights. Each test video queries the videos of `data`.
    R@k, for each k of `ranks`, is the share of test videos that have a video of their own class
    among their k nearest neighbours. If `evaluation` has one crop, it is the crop of `view`.
    """

    kind: Literal["retrieve"] = "retrieve"
    backbone: Backbone
    data: Subset
    view: View
    evaluation: Evaluation
    ranks: tuple[Rank, ...] = (1, 5, 10, 20, 50)

    def __post_init__(self) -> None:
        check_limits(self)
