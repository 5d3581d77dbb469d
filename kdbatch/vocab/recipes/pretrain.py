"""The recipe of a backbone that is trained on a pretext task."""

from dataclasses import dataclass
from typing import Annotated, Literal

from kdbatch.base.digests.hashed_fields import new_field
from kdbatch.base.errors import UserError
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.tasks import TASKS, PretextTask
from kdbatch.vocab.views import View


@dataclass(frozen=True, kw_only=True)
class Pretrain:
    """A backbone trained on a pretext task, without labels."""

    kind: Literal["pretrain"] = "pretrain"
    task: PretextTask
    backbone: Backbone
    data: Subset
    view: View
    schedule: Schedule
    least_fps: Annotated[float, Limits("frames/s", least=0, most=1_000_000)] = new_field(0.0)
    """Videos of fewer frames per second are left out; 0 where no video of the subset is too slow
    for the task.
    """

    def __post_init__(self) -> None:
        check_limits(self)
        spec, parts = TASKS[self.task.name], self.schedule.num_micro_batches
        if spec.needs_whole_batch and parts > 1:
            raise UserError(
                f"pretrain.num_micro_batches: found {parts}, which would change what {spec.title} "
                "learns from: it compares the clips of a whole batch, or of a queue that moves "
                "with the batch. Write 1, and lower pretrain.batch_clips or add GPUs if memory is "
                "short."
            )
