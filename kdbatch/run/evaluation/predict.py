"""Predictions of a network for videos, averaged over views.

Axes: N videos of a set, B of a batch, V views of a video: C clips times P crops of each; K classes.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from kdbatch.base.command_lines import resume_command
from kdbatch.base.errors import UserError
from kdbatch.result.label_ranks import label_ranks
from kdbatch.run.compilation.networks import remove_compiled
from kdbatch.run.compilation.trial import WITHOUT, compile_if_it_pays, reason_against
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import Batch, EvaluationBatches, StoredVideo, iterate_batches
from kdbatch.run.data.prefetch import staging
from kdbatch.run.data.sampling import evenly_spaced_clips
from kdbatch.run.models.layers.folding import copy_to_infer
from kdbatch.run.run_log import log_progress
from kdbatch.vocab.views import CENTER_CROP, THREE_CROPS, Augment, View

CLIPS_PER_PASS = 64
LEAST_BATCHES = 100  # to compile for, however long each takes
_log = logging.getLogger(__name__)


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

    The model stays in evaluation mode; on a GPU a copy of it with folded batch norms predicts. With
    `may_stop`, a stop signal raises Stopped between two batches.
    """
    network = network_to_infer(model, context)
    labels, probabilities, logits, ranks = [], [], [], []
    for batch, logit_VBK in predict_each_video(
        network,
        videos,
        view=view,
        num_clips=num_clips,
        num_crops=num_crops,
        context=context,
        networks=[network],
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


def network_to_infer(model: nn.Module, context: RunContext) -> nn.Module:
    """The network that computes what `model` does in evaluation mode: itself on a CPU, where equal
    runs are to give equal bits, and a folded copy on a GPU, for each rank its own.
    """
    model.eval()
    if reason_against(context, infers=True) == "":
        return model
    return copy_to_infer(model)


@torch.no_grad()
def predict_each_video(
    function: Callable[[Tensor], Tensor],
    videos: Sequence[StoredVideo],
    *,
    view: View,
    num_clips: int,
    num_crops: int,
    context: RunContext,
    networks: Sequence[nn.Module],
    center: Augment = CENTER_CROP,
    may_stop: bool = True,
) -> Iterator[tuple[Batch, Tensor]]:
    """(batch, function of its views) for this process's share of the videos, a piece of the stored
    order (Team.gathered puts the pieces together); the function's output is float32 on the CPU,
    shape (V, B, ...). Where there is one crop, it is `center`. `networks`, which the function runs,
    are compiled if that pays.
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
    steps, stage = range(len(source)), staging(context.device)
    batches = iterate_batches(source, steps, num_workers=context.num_workers, stage=stage)

    def take_pass(clip_VBCTHW: Tensor) -> Tensor:
        with torch.autocast(
            context.device.type, dtype=torch.bfloat16, enabled=context.device.type == "cuda"
        ):
            return function(clip_VBCTHW.flatten(0, 1))

    first_shape = None
    for batch in log_progress(batches, len(source), what="prediction"):
        if may_stop:
            context.reporter.raise_if_stopped()
        clip_VBCTHW = batch.views(size_pixels=seen.size_pixels, device=context.device)
        if first_shape is None:
            first_shape = clip_VBCTHW.shape
            _compile(networks, lambda clip=clip_VBCTHW: take_pass(clip), len(source), context)
        elif clip_VBCTHW.shape != first_shape:  # the last batch, which is not worth compiling
            remove_compiled(networks)
        out_VBx = take_pass(clip_VBCTHW).float().unflatten(0, clip_VBCTHW.shape[:2]).cpu()
        _check_finite(out_VBx, batch)
        yield batch, out_VBx


def _check_finite(out_VBx: Tensor, batch: Batch) -> None:
    """Finite losses do not imply finite predictions: those are made with the means and variances of
    many batches, and after the last step.

    Raises:
        UserError: a number is not finite.
    """
    is_finite_B = out_VBx.isfinite().transpose(0, 1).flatten(1).all(1)
    if not bool(is_finite_B.all()):
        key = next(key for key, is_finite in zip(batch.keys, is_finite_B.tolist()) if not is_finite)
        raise UserError(
            f"video {key}: the network's output is not finite. Its training has diverged: lower lr "
            f"in the profile, or raise warmup_epochs, then: {resume_command()}"
        )


def _compile(
    networks: Sequence[nn.Module],
    take_pass: Callable[[], object],
    num_batches: int,
    context: RunContext,
) -> None:
    reason = reason_against(context, infers=True)
    if reason is None and num_batches < LEAST_BATCHES:
        reason = f"{num_batches} batches are fewer than {LEAST_BATCHES}"
    if reason is None:
        compile_if_it_pays(networks, take_pass, device=context.device, passes_left=num_batches)
    elif reason:
        _log.info("%s: %s", WITHOUT, reason)


def top_k(probability_NK: np.ndarray, label_N: np.ndarray, k: int) -> float:
    """Share of rows whose label is among the k highest columns."""
    return float((label_ranks(probability_NK, label_N) < k).mean())
