"""TDL, Wang et al. 2020, arXiv:2008.02129: discriminate a clip from another moment of its video.

"Temporal-discriminative learning". Axes: V=3 clips (anchor, positive, negative), B videos, T
frames, D embedding, Q queue. Anchor and positive are the same frames, augmented apart; the negative
starts elsewhere in the video; more negatives are the queued keys of other videos. The ladder is
ours: how near the negative may be. At complexity 1 half the video away, at 2 a clip's length (no
frame is shared), at 3 four frames (the authors' code). Differences from FingerRec's code: all
complexities see the same videos, those of at least two clips' length; keys of a query's own video
are no negatives; the queue starts with unit vectors; anchor and negative are batch-normalised
together; frames of a clip are as far apart as the profile says, successive ones in the study's,
where theirs takes every fourth.
"""

import functools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.run.data.sampling import ClipRequest, clip_frames, timeline_frames
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.tasks.momentum import MomentumEncoders, info_nce
from kdbatch.run.tasks.pretext import MakeBackbone, Pretext, SampledClips
from kdbatch.run.train.steps import StepOutput
from kdbatch.vocab.tasks.tdl import TDL
from kdbatch.vocab.views import View


def chance_accuracy(task: TDL, num_videos: int) -> float:
    """Guessing puts half of the anchors nearer to the positive, whatever the batch."""
    return 0.5


def sample_clips(
    videos: Sequence[StoredVideo], task: TDL, view: View, rng: np.random.Generator
) -> SampledClips:
    """Anchor, positive and negative of every video.

    Also which frame is mixed into the anchor, and its share.
    """
    requests = []
    for video in videos:
        start, negative = draw_starts(task, timeline_frames(video.sample, view), view, rng)
        frame_VT = clip_frames(video.sample, view, (start, start, negative))
        requests.append(ClipRequest(frame_VT=frame_VT, draw_V=(0, 1, 2)))
    extra = {
        "video": np.array([video.sample.place for video in videos]),
        "mix_frame": rng.integers(view.num_frames, size=len(videos)),
        "mix_share": rng.uniform(0, task.max_mix, size=len(videos)).astype(np.float32),
    }
    return requests, extra


def draw_starts(
    task: TDL, num_frames: int, view: View, rng: np.random.Generator
) -> tuple[int, int]:
    """Starts of anchor and negative in a video of `num_frames`.

    Every pair that is far enough apart is as likely as every other.
    """
    last = num_frames - view.window_frames
    least = {
        "half-video": -(-num_frames // 2),
        "clip": view.num_frames * view.stride_frames,
        "near": task.near_frames,
    }[task.negative_gap]
    gap = least + int(_gap_distribution(least, last).searchsorted(rng.random(), side="right"))
    start = int(rng.integers(last + 1 - gap))
    anchor, negative = rng.permutation([start, start + gap])
    return int(anchor), int(negative)


@functools.lru_cache(maxsize=4096)  # lengths of videos
def _gap_distribution(least: int, last: int) -> np.ndarray:
    """The cumulative distribution of gaps from `least` to `last`. Each is as likely as the earlier
    clip has starts. `Generator.choice` would compute the same at every call.
    """
    num_starts = last + 1 - np.arange(least, last + 1)
    cumulative = (num_starts / num_starts.sum()).cumsum()
    return cumulative / cumulative[-1]


def build_model(task: TDL, make_backbone: MakeBackbone, group: ProcessGroup) -> MomentumEncoders:
    """One head, whose keys are queued."""
    return MomentumEncoders(
        make_backbone,
        group,
        num_heads=1,
        embedding_dim=task.embedding_dim,
        queue_size=task.queue_size,
        key_momentum=task.key_momentum,
    )


def mix_in_frame(clip_BCTHW: Tensor, frame_B: Tensor, share_B: Tensor) -> Tensor:
    """Temporal-consistent augmentation: (1 - share) * every frame + share * one frame of the clip.

    The mixed-in frame is the same for all frames of a clip. Differences between frames keep their
    direction and shrink by 1 - share; what does not move gets stronger. Section 3.2 of the source,
    and its code TC/gen_positive.py.
    """
    rows = torch.arange(len(clip_BCTHW), device=clip_BCTHW.device)
    still_BC1HW = clip_BCTHW[rows, :, frame_B].unsqueeze(2)
    return torch.lerp(clip_BCTHW, still_BC1HW, share_B.view(-1, 1, 1, 1, 1))


def tdl_step(model: MomentumEncoders, clip_VBCTHW: Tensor, batch: Batch, task: TDL) -> StepOutput:
    """InfoNCE of anchor q with positive k against negative n and queue, or a triplet of the three.

    The triplet is max(0, margin + |q-k| - |q-n|). As FingerRec's NCE/NCEAverage.py: k is of the key
    encoder, without gradient; n is of the query encoder, with gradient. `accuracy` is the share of
    anchors nearer to k than to n, `retrieved` of those nearer to k than to n and every key in the
    queue.
    """
    anchor, positive, negative = clip_VBCTHW
    extra = {
        name: values.to(anchor.device, non_blocking=True) for name, values in batch.extra.items()
    }
    anchor = mix_in_frame(anchor, extra["mix_frame"], extra["mix_share"])
    q_BD, n_BD = model.query(torch.cat([anchor, negative]))[0].chunk(2)
    model.update_key_encoder()
    k_BD = model.keys(positive[None])[0, 0]
    with torch.autocast(anchor.device.type, enabled=False):
        near_B, far_B = (q_BD * k_BD).sum(1), (q_BD * n_BD).sum(1)
        others_BQ = torch.cat([model.queue.similarities(q_BD, extra["video"]), far_B[:, None]], 1)
        if task.loss == "triplet":
            loss = F.triplet_margin_loss(q_BD, k_BD, n_BD, margin=task.margin)
        else:
            loss = info_nce(near_B, others_BQ, temperature=task.temperature)
    model.enqueue(k_BD, extra["video"])
    report = {
        "accuracy": (near_B > far_B).float().mean(),
        "retrieved": (near_B > others_BQ.amax(1)).float().mean(),
    }
    return StepOutput(loss=loss, report=report)


PRETEXT = Pretext(
    build_model=build_model,
    sample_clips=sample_clips,
    step=tdl_step,
    chance_accuracy=chance_accuracy,
)
