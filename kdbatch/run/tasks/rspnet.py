"""RSPNet, Chen et al. 2021, arXiv:2011.07949: relative speed and instance discrimination.

Relative speed perception (RSP) and appearance-focused video instance discrimination (A-VID).

Axes: V=3 clips (q, k, k'), B videos, D embedding, Q queue. q and k have one speed, k' another; k
and k' are cut from the same window with the same augmentation, so that they differ in nothing but
speed. Differences from the authors' code, each for a stated reason: the start of a clip in its
window is random (theirs always starts the window, which ties speed 1 to the window's first half);
speeds are drawn per video; keys of a query's own video are no negatives; keys are normalised in
shuffled groups on one device too, k and k' of a video in the same group, where theirs come from two
passes.
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.run.data.sampling import ClipRequest, nearest_stored_frames, timeline_frames
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.tasks.momentum import MomentumEncoders, info_nce
from kdbatch.run.tasks.pretext import MakeBackbone, Pretext, SampledClips
from kdbatch.run.train.steps import StepOutput
from kdbatch.vocab.tasks.rspnet import RSPNet
from kdbatch.vocab.views import View


def chance_accuracy(task: RSPNet, num_videos: int) -> float:
    """Share of pairs that guessing ranks right, whatever the batch."""
    return 0.5


def sample_clips(
    videos: Sequence[StoredVideo], task: RSPNet, view: View, rng: np.random.Generator
) -> SampledClips:
    """Two windows per video at independent starts; clips q, k at speed s, k' at speed s'."""
    speed_B, other_B = draw_speeds(task, len(videos), rng)
    span = task.window_frames(view.num_frames * view.stride_frames)
    offset_T = np.arange(view.num_frames) * view.stride_frames
    requests = []
    for video, *speeds in zip(videos, speed_B.tolist(), other_B.tolist(), strict=True):
        last = timeline_frames(video.sample, view) - span
        window_q, window_k = rng.integers(last + 1, size=2).tolist()
        speed_V = [speeds[0], *speeds]
        start_V = [
            window + int(rng.integers(span - speed * int(offset_T[-1])))
            for window, speed in zip((window_q, window_k, window_k), speed_V, strict=True)
        ]
        time_VT = np.array(start_V)[:, None] + np.outer(speed_V, offset_T)
        frame_VT = nearest_stored_frames(video.sample, view, time_VT)
        requests.append(ClipRequest(frame_VT=frame_VT, draw_V=(0, 1, 1)))
    video_B = np.array([video.sample.place for video in videos])
    return requests, {"speed": speed_B, "other": other_B, "video": video_B}


def draw_speeds(
    task: RSPNet, num_videos: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(s, s') per video, s != s'.

    Every ordered pair has an equal share of the batch, to within one video, and so has every s.
    """
    speeds = np.asarray(task.speeds)
    pair_B = rng.permutation(num_videos) % (len(speeds) * (len(speeds) - 1))
    index_B = pair_B % len(speeds)
    other_B = (index_B + 1 + pair_B // len(speeds)) % len(speeds)
    return speeds[index_B], speeds[other_B]


def build_model(task: RSPNet, make_backbone: MakeBackbone, group: ProcessGroup) -> MomentumEncoders:
    """Head 0 for motion, head 1 for appearance, whose keys are queued."""
    return MomentumEncoders(
        make_backbone,
        group,
        num_heads=2,
        embedding_dim=task.embedding_dim,
        queue_size=task.queue_size,
        key_momentum=task.key_momentum,
    )


def rspnet_step(
    model: MomentumEncoders, clip_VBCTHW: Tensor, batch: Batch, task: RSPNet
) -> StepOutput:
    """RSP, a margin ranking on similarities over temperature, plus A-VID, InfoNCE with two keys.

    As PeihaoChen/RSPNet: moco/builder_diffspeed_diffloss.py. The queue takes k' keys, after the
    loss. `right_s_t` is the share of videos with speeds (s, s') = (s, t) that are ranked right,
    `asked_s_t` the share that have them: their ratio is the pair's accuracy.
    """
    device = clip_VBCTHW.device
    video_B = batch.extra["video"].to(device, non_blocking=True)
    motion_q, appearance_q = model.query(clip_VBCTHW[0])
    model.update_key_encoder()
    (motion_k, appearance_k), (motion_other, appearance_other) = model.keys(clip_VBCTHW[1:])
    with torch.autocast(device.type, enabled=False):
        gap_B = ((motion_q * motion_k).sum(1) - (motion_q * motion_other).sum(1)) / task.temperature
        ranking = F.relu(task.margin - gap_B).mean()
        negative_BQ = model.queue.similarities(appearance_q, video_B)
        positives = [(appearance_q * key).sum(1) for key in (appearance_k, appearance_other)]
        discrimination = sum(
            info_nce(positive_B, negative_BQ, temperature=task.temperature)
            for positive_B in positives
        )
    model.enqueue(appearance_other, video_B)
    is_right_B = (gap_B > 0).float()
    report = {"accuracy": is_right_B.mean(), "ranking": ranking, "discrimination": discrimination}
    return StepOutput(
        loss=ranking + task.discrimination_weight * discrimination,
        report=report | _by_pair(is_right_B, batch, task),
    )


def _by_pair(is_right_B: Tensor, batch: Batch, task: RSPNet) -> dict[str, Tensor]:
    """`right_s_t` and `asked_s_t` for every ordered pair of speeds."""
    report = {}
    speed_B, other_B = (
        batch.extra[name].to(is_right_B.device, non_blocking=True) for name in ("speed", "other")
    )
    for speed, other in permutations(task.speeds, 2):
        has_pair_B = ((speed_B == speed) & (other_B == other)).float()
        report[f"right_{speed}_{other}"] = (is_right_B * has_pair_B).mean()
        report[f"asked_{speed}_{other}"] = has_pair_B.mean()
    return report


PRETEXT = Pretext(
    build_model=build_model,
    sample_clips=sample_clips,
    step=rspnet_step,
    chance_accuracy=chance_accuracy,
)
