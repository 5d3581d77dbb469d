"""A pretext task as the pretraining stage uses it: four functions of each task's module."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor, nn

from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.run.data.sampling import ClipRequest
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.models import VideoBackbone
from kdbatch.run.train.steps import StepOutput
from kdbatch.vocab.views import View

MakeBackbone = Callable[[], VideoBackbone]
"""Builds a backbone of the run's architecture with random weights; every call draws new ones."""

SampledClips = tuple[list[ClipRequest], dict[str, np.ndarray]]
"""One clip request per video, and what else the step needs of each video: arrays by name."""


@dataclass(frozen=True, kw_only=True)
class Pretext:
    """The functions of one pretext task. `task`, their `Any`, is its parameters (vocab/tasks/).

    `build_model(task, make_backbone, group)` returns a module whose `backbone` fine-tuning starts
    from. It calls `make_backbone` once for each backbone that the task trains or averages.
    `sample_clips(videos, task, view, rng)` draws the clips of a batch. `step(model, clip_VBCTHW,
    batch, task)` is one training step. `chance_accuracy(task, num_videos)` is the accuracy of
    guessing in batches of `num_videos`.

    Ranks that train together always normalise over all of their clips
    (run/distributed/sync_layers.py); a task that compares the clips of a batch keeps `group` in its
    model.
    """

    build_model: Callable[[Any, MakeBackbone, ProcessGroup], nn.Module]
    sample_clips: Callable[[Sequence[StoredVideo], Any, View, np.random.Generator], SampledClips]
    step: Callable[[Any, Tensor, Batch, Any], StepOutput]
    chance_accuracy: Callable[[Any, int], float]
