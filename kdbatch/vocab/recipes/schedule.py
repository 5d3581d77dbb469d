"""How a network is trained: epochs, batches and the learning rate."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.digests.hashed_fields import new_field
from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import Limits, Share, check_limits


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """An optimizer, a linear warm-up and a decay of the learning rate.

    Batch normalisation sees one micro-batch at a time, so their number belongs to the recipe.
    """

    epochs: Annotated[int, Limits("epochs", least=1, most=100_000)]
    """Passes over the training videos."""
    batch_clips: Annotated[int, Limits("clips", least=1, most=1_000_000)]
    """Clips in a batch, over all GPUs."""
    lr: Annotated[float, Limits("learning rate", least=1e-10, most=1000)]
    """Learning rate after the warm-up, for a whole batch."""
    head_lr_factor: Annotated[float, Limits("factor", least=0, most=10_000)] = 1.0
    """The new head's rate, as a multiple of `lr`."""
    momentum: Annotated[float, Limits("share", least=0, below=1)] = 0.9
    """Momentum of SGD; AdamW's share of the mean gradient before (beta1; its beta2 is 0.999)."""
    weight_decay: Annotated[float, Limits("factor", least=0, most=10)] = 5e-4
    """Weight decay; AdamW's is a share of the weights, in units of the rate."""
    warmup_epochs: Annotated[float, Limits("epochs", least=0, most=100_000)] = 0.0
    """Epochs over which the rate rises linearly to `lr`."""
    decay: Literal["cosine", "steps"] = "cosine"
    """Shape of the decay: a cosine down to `final_lr_share`, or steps at `milestones`."""
    final_lr_share: Share = 0.0
    """Rate at the end of a cosine, as a share of `lr`."""
    milestones: tuple[Share, ...] = ()
    """Shares of all epochs at which a decay by steps multiplies the rate by `decay_factor`."""
    decay_factor: Annotated[float, Limits("factor", least=1e-6, most=1)] = 0.1
    """Factor of the rate at each milestone."""
    num_micro_batches: Annotated[int, Limits("parts", least=1, most=1_000_000)] = 1
    """Parts of a batch that are processed one after the other, for a GPU with too little memory."""
    optimizer: Literal["sgd", "adamw"] = new_field("sgd")
    """SGD with momentum, or AdamW (Loshchilov & Hutter 2019), whose rates are far lower."""

    def __post_init__(self) -> None:
        check_limits(self)
        if self.num_micro_batches > self.batch_clips:
            raise UserError(
                f"num_micro_batches: found {self.num_micro_batches} for batches of "
                f"{self.batch_clips} clips. Write 1 to {self.batch_clips}."
            )
