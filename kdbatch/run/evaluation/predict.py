"""Predictions of a network for videos, averaged over views.

Axes: N videos of a set, B of a batch, V views of a video: C clips times P crops of each; K classes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import Batch, EvaluationBatches, StoredVideo, iterate_batches
from kdbatch.run.data.sampling import evenly_spaced_clips
from kdbatch.run.run_log import log_progress
from kdbatch.vocab.views import CENTER_CROP, THREE_CROPS, Augment, View

CLIPS_PER_PASS = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions:
    """Per video the mean softmax and the mean logits over its views.

    `clip_rank_NC` is the rank of each clip's label by the mean softmax over its crops.
    """

    keys: list[str]
    groups: list[str]
    label_N: np.ndarray
    probability_NK: np.ndarray
    logit_NK: np.ndarray
    clip_rank_NC: np.ndarray

    @property
    def num_videos(self) -> int:
        return len(self.keys)

    def top_share(self, k: int) -> float:
        """Share of videos whose label is among the k most probable classes."""
        return top_k(self.probability_NK, self.label_N, k)

    def clip_top_share(self, k: int) -> float:
        """The same share of single clips."""
        return float((self.clip_rank_NC < k).mean())


def predict(
    model: nn.Module,
    videos: Sequence[StoredVideo],
    *,
    view: View,
    num_clips: int,
    num_crops: int,
    context: RunContext,
    may_stop: bool = True,
) -> Predictions:
    """Classify videos, each rank its share; all ranks get all predictions.

    The model stays in evaluation mode. With `may_stop`, a stop signal raises Stopped between two
    batches.
    """
    model.eval()
    labels, probabilities, logits, ranks = [], [], [], []
    for batch, logit_VBK in predict_each_video(
        model,
        videos,
        view=view,
        num_clips=num_clips,
        num_crops=num_crops,
        context=context,
        may_stop=may_stop,
    ):
        probability_CPBK = logit_VBK.softmax(-1).unflatten(0, (num_clips, num_crops))
        labels.append(batch.label_B)
        probabilities.append(probability_CPBK.mean((0, 1)))
        logits.append(logit_VBK.mean(0))
        clip_BCK = probability_CPBK.mean(1).transpose(0, 1).numpy()
        ranks.append(torch.from_numpy(label_ranks(clip_BCK, batch.label_B.numpy()[:, None])))
    label_N, probability_NK, logit_NK, rank_NC = (
        context.group.all_gather_rows(torch.cat(x)).numpy()
        for x in (labels, probabilities, logits, ranks)
    )
    return Predictions(
        keys=[video.sample.key for video in videos],  # shares are contiguous in the stored order
        groups=[video.sample.group for video in videos],
        label_N=label_N,
        probability_NK=probability_NK,
        logit_NK=logit_NK,
        clip_rank_NC=rank_NC,
    )


@torch.no_grad()
def predict_each_video(
    function: Callable[[Tensor], Tensor],
    videos: Sequence[StoredVideo],
    *,
    view: View,
    num_clips: int,
    num_crops: int,
    context: RunContext,
    center: Augment = CENTER_CROP,
    may_stop: bool = True,
) -> Iterator[tuple[Batch, Tensor]]:
    """(batch, function of its views) for this process's share of the videos, a piece of the stored
    order (Team.gathered puts the pieces together); the function's output is float32 on the CPU,
    shape (V, B, ...). Where there is one crop, it is `center`.
    """
    seen = replace(view, augment=center if num_crops == 1 else THREE_CROPS)
    source = EvaluationBatches(
        videos,
        view=seen,
        videos_per_batch=max(1, CLIPS_PER_PASS // (num_clips * num_crops)),
        request=lambda sample: evenly_spaced_clips(sample, seen, num_clips, num_crops=num_crops),
        clip_reader=context.clip_reader,
        rank=context.group.rank,
        world_size=context.group.world_size,
    )
    batches = iterate_batches(source, range(len(source)), num_workers=context.num_workers)
    for batch in log_progress(batches, len(source), what="prediction"):
        if may_stop:
            context.reporter.raise_if_stopped()
        clip_VBCTHW = batch.views(size_pixels=seen.size_pixels, device=context.device)
        with torch.autocast(
            context.device.type, dtype=torch.bfloat16, enabled=context.device.type == "cuda"
        ):
            out = function(clip_VBCTHW.flatten(0, 1))
        yield batch, out.float().unflatten(0, clip_VBCTHW.shape[:2]).cpu()


def label_ranks(value_K: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Ranks of labels: how many classes (last axis) have a higher value.

    Equal values are ranked in label order. `label` has the other axes, or 1 for some.
    """
    label_1 = np.broadcast_to(label, value_K.shape[:-1])[..., None]
    own_1 = np.take_along_axis(value_K, label_1, axis=-1)
    is_earlier_K = np.arange(value_K.shape[-1]) < label_1
    return ((value_K > own_1) | ((value_K == own_1) & is_earlier_K)).sum(-1)


def top_k(probability_NK: np.ndarray, label_N: np.ndarray, k: int) -> float:
    """Share of rows whose label is among the k highest columns."""
    return float((label_ranks(probability_NK, label_N) < k).mean())
