"""Pretext tasks: one file and one line here each. A task knows which clips it needs, what it
predicts, and its loss.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.run.data.sampling import ClipRequest
from kdbatch.run.models import VideoBackbone
from kdbatch.run.tasks import cvrl, prp, rotnet, rspnet, tdl, vcop
from kdbatch.run.train.steps import StepOutput
from kdbatch.vocab.views import View


@dataclass(frozen=True, kw_only=True)
class Pretext:
    """`build(task, backbone, copy)` gives a module whose `backbone` is what fine-tuning starts
    from; `copy` is a second backbone of the same kind for tasks that keep a key encoder. `choose`
    cuts clips, `step` is one training step, `chance` the accuracy of guessing in batches of that
    many videos. Processes that train together always normalise over all of their clips
    (run/distributed/sync_layers.py).
    """

    build_model: Callable[[Any, VideoBackbone, VideoBackbone], nn.Module]
    sample_clips: Callable[
        [Sequence[StoredVideo], Any, View, np.random.Generator],
        tuple[list[ClipRequest], dict[str, np.ndarray]],
    ]
    step: Callable[[Any, Tensor, Batch, Any], StepOutput]
    chance_accuracy: Callable[[Any, int], float]


PRETEXTS: dict[str, Pretext] = {
    "rotnet": Pretext(
        build_model=rotnet.build_model,
        sample_clips=rotnet.sample_clips,
        step=rotnet.rotnet_step,
        chance_accuracy=rotnet.chance_accuracy,
    ),
    "vcop": Pretext(
        build_model=vcop.build_model,
        sample_clips=vcop.sample_clips,
        step=vcop.vcop_step,
        chance_accuracy=vcop.chance_accuracy,
    ),
    "prp": Pretext(
        build_model=prp.build_model,
        sample_clips=prp.sample_clips,
        step=prp.prp_step,
        chance_accuracy=prp.chance_accuracy,
    ),
    "cvrl": Pretext(
        build_model=cvrl.build_model,
        sample_clips=cvrl.sample_clips,
        step=cvrl.cvrl_step,
        chance_accuracy=cvrl.chance_accuracy,
    ),
    "tdl": Pretext(
        build_model=tdl.build_model,
        sample_clips=tdl.sample_clips,
        step=tdl.tdl_step,
        chance_accuracy=tdl.chance_accuracy,
    ),
    "rspnet": Pretext(
        build_model=rspnet.build_model,
        sample_clips=rspnet.sample_clips,
        step=rspnet.rspnet_step,
        chance_accuracy=rspnet.chance_accuracy,
    ),
}
