"""The logits of a teacher for one batch, recorded in a file.

Axes: B clips, T frames, C channels, H by W pixels, D features, K classes.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from kdbatch.run.data.augment_params import AugmentParams
from kdbatch.run.data.batch import Batch
from kdbatch.run.train.teacher_logit_cache import TeacherLogitCache


def recorded_logits(path: Path) -> Callable[[], list[list[list[float]]]]:
    """A function that reads the logits of a batch from `path`, or computes and records them."""
    clip_BCTHW = torch.randn(4, 3, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    weight_DK = torch.randn(24, 3, generator=torch.Generator().manual_seed(1))
    batch = Batch(
        clips=[],
        augment_params=[AugmentParams((0, b, 8, 8), False, False) for b in range(4)],
        num_views=1,
        label_B=torch.zeros(4),
        keys=list("abcd"),
        extra={
            "frame_BT": torch.arange(8).view(4, 2),
            "position": torch.arange(4),
            "view": torch.zeros(4, dtype=torch.long),
        },
    )

    def logits() -> list[list[list[float]]]:
        teachers = [lambda clip_BCTHW: clip_BCTHW.flatten(1) @ weight_DK]
        cache = TeacherLogitCache(
            path, teachers, num_views=1, classes=("run", "jump", "sit"), weights=("aa",)
        )
        return [teacher(clip_BCTHW).tolist() for teacher in cache.teachers_for(batch, clip_BCTHW)]

    return logits
