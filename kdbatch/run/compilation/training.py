"""Compiles the networks of a training run, if that makes the rest of it shorter.

Axes: V clips of a video, B videos.
"""

import logging
from collections.abc import Callable, Sequence

from torch import nn

from kdbatch.run.compilation.trial import WITHOUT, compile_if_it_pays, reason_against
from kdbatch.run.context import RunContext
from kdbatch.run.data.prefetch import DeviceBatch

_log = logging.getLogger(__name__)


def compile_training(
    model: nn.Module,
    teachers: Sequence[nn.Module],
    device_batch: DeviceBatch,
    compute: Callable[[DeviceBatch], object],
    *,
    least_videos: int,
    steps_left: int,
    context: RunContext,
) -> None:
    """Compile `model` and `teachers` after steps on a batch with and without it.

    `compute` stores the gradients of a batch; what it changes in `model` is undone. Batches of
    `least_videos` are tried as well where this one has more, so that no step of the run compiles.
    """
    reason = reason_against(context)
    if reason is not None:
        if reason:
            _log.info("%s: %s", WITHOUT, reason)
        return
    batches = [device_batch]
    clip_VBCTHW, batch = device_batch
    if len(batch.keys) > least_videos:
        fewer = slice(0, least_videos)
        batches.append((clip_VBCTHW[:, fewer], batch.select_videos(fewer)))
    saved = {name: value.clone() for name, value in model.state_dict().items()}

    def take_pass() -> None:
        try:
            for each in batches:
                compute(each)
        finally:
            model.load_state_dict(saved)
            model.zero_grad(set_to_none=True)

    compile_if_it_pays(
        [model, *teachers],
        take_pass,
        device=context.device,
        passes_left=steps_left // len(batches),
        num_versions=len(batches) * (2 if teachers else 1),
    )
