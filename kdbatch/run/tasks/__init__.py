"""Pretext tasks: one file and one line here each. A task knows which clips it needs, what it predicts, and its loss."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from kdbatch.run.data.batches import Batch, Video
from kdbatch.run.data.sampling import Request
from kdbatch.run.models import VideoBackbone
from kdbatch.run.tasks import cvrl, prp, rotnet, rspnet, tdl, vcop
from kdbatch.run.train.steps import Step
from kdbatch.vocab.views import View


@dataclass(frozen=True, kw_only=True)
class Pretext:
    """`build(task, backbone, copy)` gives a module whose `backbone` is what fine-tuning starts from; `copy` is a second backbone of the
    same kind for tasks that keep a key encoder. `choose` cuts clips, `step` is one training step, `chance` the accuracy of guessing
    in batches of that many videos. Processes that train together always normalise over all of their clips (run/distributed/sync_layers.py).
    """

    build: Callable[[Any, VideoBackbone, VideoBackbone], nn.Module]
    choose: Callable[[Sequence[Video], Any, View, np.random.Generator], tuple[list[Request], dict[str, np.ndarray]]]
    step: Callable[[Any, Tensor, Batch, Any], Step]
    chance: Callable[[Any, int], float]


PRETEXTS: dict[str, Pretext] = {
    "rotnet": Pretext(build=rotnet.build, choose=rotnet.choose, step=rotnet.rotnet_step, chance=rotnet.chance),
    "vcop": Pretext(build=vcop.build, choose=vcop.choose, step=vcop.vcop_step, chance=vcop.chance),
    "prp": Pretext(build=prp.build, choose=prp.choose, step=prp.prp_step, chance=prp.chance),
    "cvrl": Pretext(build=cvrl.build, choose=cvrl.choose, step=cvrl.cvrl_step, chance=cvrl.chance),
    "tdl": Pretext(build=tdl.build, choose=tdl.choose, step=tdl.tdl_step, chance=tdl.chance),
    "rspnet": Pretext(build=rspnet.build, choose=rspnet.choose, step=rspnet.rspnet_step, chance=rspnet.chance),
}
