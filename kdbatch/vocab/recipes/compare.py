"""The recipe of a CKA map."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.digests.hashed_fields import new_field
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import View


@dataclass(frozen=True, kw_only=True)
class Compare:
    """Minibatch CKA between every layer of the first parent and every layer of the last.

    With one parent it is a map of the network with itself; without any, of `untrained`, a network
    with the random weights that its training would start from.
    """

    kind: Literal["compare"] = "compare"
    data: Subset
    view: View
    layers: Literal["res", "act", "all"] = "act"
    num_clips: Annotated[int, Limits("clips", least=4, most=1_000_000)] = 1024
    """Test clips that a CKA map is computed from."""
    batch_clips: Annotated[int, Limits("clips", least=4, most=100_000)] = 64
    """Clips in a batch; the unbiased HSIC needs at least 4."""
    untrained: Backbone | None = new_field(None)

    def __post_init__(self) -> None:
        check_limits(self)
