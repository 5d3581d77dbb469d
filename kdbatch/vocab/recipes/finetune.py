"""The recipe of a teacher."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.digests.hashed_fields import new_field
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.evaluation import Evaluation, Selection
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import View

VideosPerClass = Annotated[int, Limits("videos", least=0, most=1_000_000)]


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """A teacher: the backbone of its one parent, with a new head, trained on labels.

    Without a parent the backbone starts from random weights. `trained="head"` is the linear probe:
    the backbone stays frozen, with its batch statistics. Without `selection` the last epoch is
    kept.
    """

    kind: Literal["finetune"] = "finetune"
    backbone: Backbone
    data: Subset
    view: View
    schedule: Schedule
    evaluation: Evaluation
    selection: Selection | None = None
    trained: Literal["all", "head"] = "all"
    dropout: Annotated[float, Limits("share", least=0, below=1)] = 0.5
    """Share of features that dropout sets to zero before the head."""
    videos_per_class: VideosPerClass = new_field(0)
    """Training videos of each class, the first in storage order; 0: all of them."""
    shuffled_labels: bool = new_field(False)
    """Whether the training videos' labels are permuted among them, by the seed (Zhang et al. 2017,
    arXiv:1611.03530): nothing that holds for other videos can be learnt from them.
    """

    def __post_init__(self) -> None:
        check_limits(self)
