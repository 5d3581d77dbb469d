"""PRP, playback rate perception, Yao et al., CVPR 2020, arXiv:2006.11476.

Predict how fast a clip plays, and reconstruct the frames between its frames.

Axes: B videos, C=3 channels, T frames of a clip, J=2T frames of the target, M=4 frames of a group,
A frames that show the motion, R rates, D features. A clip at rate s takes every s-th frame of the
view; the target is the same span at rate s/2, so its even frames are the clip. At rate 1 the odd
ones do not exist and have no loss. Only videos that allow every rate take part, on one timeline of
frames per second: otherwise a video's length or frame rate would reveal the rate.

Differences from the authors' code, each for a stated reason: a clip lies anywhere in a window of
the slowest rate's length, so that its start does not reveal its rate; rates are balanced over a
batch; augmentation is the study's, theirs is a centre crop.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdbatch.run.data.augment import denormalize
from kdbatch.run.data.batches import Batch, StoredVideo
from kdbatch.run.data.geometry import resize_map
from kdbatch.run.data.sampling import ClipRequest, nearest_stored_frames, timeline_frames
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.models import VideoBackbone
from kdbatch.run.rng import balanced_labels
from kdbatch.run.tasks.motion import motion_weights
from kdbatch.run.tasks.pretext import MakeBackbone, Pretext, SampledClips
from kdbatch.run.train.steps import StepOutput, accuracy_of
from kdbatch.vocab.tasks.prp import PRP
from kdbatch.vocab.views import View

# Frames of each T consecutive ones between which motion is measured: 0, 5, 10 and 15 of 16.
GROUP_FRAMES = 4


def chance_accuracy(task: PRP, num_videos: int) -> float:
    """One of R rates."""
    return 1 / len(task.rates)


def sample_clips(
    videos: Sequence[StoredVideo], task: PRP, view: View, rng: np.random.Generator
) -> SampledClips:
    """One clip per video: its J target frames, then the A frames that show the motion.

    Also which target frames exist, `real`, (B, J).
    """
    clip_frames = view.num_frames * view.stride_frames
    span = task.window_frames(clip_frames)
    label_B = balanced_labels(len(task.rates), len(videos), rng)
    targets = {rate: target_offsets(rate, view) for rate in task.rates}
    offsets = {
        rate: np.concatenate([offset_J, motion_offsets(rate, task, view)])
        for rate, (offset_J, _) in targets.items()
    }
    requests, real_BJ = [], []
    for video, rate in zip(videos, np.asarray(task.rates)[label_B].tolist(), strict=True):
        window = rng.integers(timeline_frames(video.sample, view) - span + 1)
        start = window + rng.integers(span - rate * clip_frames + 1)
        frames = nearest_stored_frames(video.sample, view, start + offsets[rate])
        requests.append(ClipRequest(frame_VT=frames[None], draw_V=(0,)))
        real_BJ.append(targets[rate][1])
    return requests, {"rate": label_B, "real": np.stack(real_BJ)}


def target_offsets(rate: int, view: View) -> tuple[np.ndarray, np.ndarray]:
    """Times of the J target frames from the clip's start, and which of them exist.

    A frame that would lie between two frames is replaced by the earlier one.
    """
    half_J = np.arange(2 * view.num_frames) * rate * view.stride_frames
    return half_J // 2, half_J % 2 == 0


def motion_offsets(rate: int, task: PRP, view: View) -> np.ndarray:
    """Times of the frames that show the motion, from the clip's start; none without motion weights.

    GROUP_FRAMES, evenly from first to last, in each of the `rate` groups of T consecutive frames
    that the clip spans. Clips of lower rates than the highest repeat their last frame, since all
    clips of a batch have one length.
    """
    if not task.motion_weighted:
        return np.empty(0, np.int64)
    inside_M = np.rint(np.linspace(0, view.num_frames - 1, GROUP_FRAMES)).astype(np.int64)
    offset_GM = (np.arange(rate)[:, None] * view.num_frames + inside_M) * view.stride_frames
    return np.pad(offset_GM.ravel(), (0, (max(task.rates) - rate) * GROUP_FRAMES), mode="edge")


def build_model(task: PRP, make_backbone: MakeBackbone, group: ProcessGroup) -> "PRPModel":
    return PRPModel(task, make_backbone(), group)


class PRPModel(nn.Module):
    """Backbone and two branches on its last map: the rate, and the frames at twice the rate.

    The rate is a convolution, a mean and a linear layer; the frames are a decoder. Maps of another
    width than `decoder_dim` are first brought to it by a 1x1x1 convolution. The source's decoder is
    made for a map of 2x7x7, a sixteenth of its output in T, H and W; the maps of other networks and
    clips are interpolated to a sixteenth.
    """

    def __init__(
        self, task: PRP, backbone: VideoBackbone, group: ProcessGroup = SINGLE_PROCESS
    ) -> None:
        super().__init__()
        dim, feature_dim = task.decoder_dim, backbone.feature_dim
        self.group = group
        self.backbone = backbone
        self.project = nn.Conv3d(feature_dim, dim, 1) if feature_dim != dim else nn.Identity()
        self.perceive = _conv(dim, dim)
        self.rate = nn.Linear(dim, len(task.rates))
        self.enter = _conv(dim, dim)
        self.decoder = nn.Sequential()
        for width_in, width_out in pairwise([dim, dim // 2, dim // 4, dim // 8, 3]):
            doubled = nn.ConvTranspose3d(width_in, width_in, 2, 2)
            self.decoder.append(nn.Sequential(doubled, _conv(width_in, width_out)))
        self.to(memory_format=torch.channels_last_3d)

    def forward(self, clip_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (B, R) and pixels (B, C, J, H, W).

        Pixels are 0 or more: a ReLU is the decoder's last layer.
        """
        frames, height, width = clip_BCTHW.shape[2:]
        map_BDTHW = self.project(self.backbone.forward_features(clip_BCTHW))
        logit_BR = self.rate(self.perceive(map_BDTHW).mean((2, 3, 4)))
        out_size = (2 * frames, height, width)
        grid = tuple(-(-size // 16) for size in out_size)
        rebuilt = self.decoder(self.enter(resize_map(map_BDTHW, grid)))
        return logit_BR, resize_map(rebuilt, out_size)


def _conv(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(in_channels, out_channels, 3, padding=1), nn.BatchNorm3d(out_channels), nn.ReLU()
    )


def prp_step(model: PRPModel, clip_VBCTHW: Tensor, batch: Batch, task: PRP) -> StepOutput:
    """Weighted squared error over the real frames + `rate_weight` * cross-entropy of the rate.

    As in yuanyao366/PRP:train_predict.py. The reconstruction is of pixels from 0 to 1, before
    normalisation.
    """
    device = clip_VBCTHW.device
    num_motion = GROUP_FRAMES * max(task.rates) * task.motion_weighted
    num_target = clip_VBCTHW.shape[3] - num_motion
    target_BCJHW, motion_BCAHW = clip_VBCTHW[0].split([num_target, num_motion], dim=2)
    label_B = batch.extra["rate"].to(device, non_blocking=True)
    real_BJ = batch.extra["real"].to(device, non_blocking=True)
    logit_BR, rebuilt_BCJHW = model(target_BCJHW[:, :, ::2])
    with torch.autocast(device.type, enabled=False):
        error_BCJHW = (rebuilt_BCJHW.float() - denormalize(target_BCJHW)).square()
        if task.motion_weighted:
            motion_pixels = denormalize(motion_BCAHW)
            label_on_host = batch.extra["rate"]
            weight_BCJHW = target_weights(motion_pixels, label_on_host, task, num_target=num_target)
            error_BCJHW = error_BCJHW * weight_BCJHW
        error_BJ = error_BCJHW.mean((1, 3, 4))
        # Ranks may hold unequal numbers of real frames.
        num_real = model.group.all_reduce_mean(real_BJ.sum())
        reconstruction = (error_BJ * real_BJ).sum() / num_real
        rate = F.cross_entropy(logit_BR.float(), label_B)
    report = {
        "accuracy": accuracy_of(logit_BR, label_B),
        "reconstruction": reconstruction,
        "rate": rate,
    }
    return StepOutput(loss=reconstruction + task.rate_weight * rate, report=report)


@torch.no_grad()
def target_weights(pixels_BCAHW: Tensor, label_B: Tensor, task: PRP, *, num_target: int) -> Tensor:
    """Motion weights of every target frame, (B, C, J, H, W).

    Clips of one rate have equally many groups and are processed together. `label_B` lies on the
    host: how many clips have a rate is then known without waiting for a GPU.
    """
    device = pixels_BCAHW.device
    batch_size, num_channels, _, height, width = pixels_BCAHW.shape
    weight_BCJHW = pixels_BCAHW.new_empty((batch_size, num_channels, num_target, height, width))
    for label, rate in enumerate(task.rates):
        index = (label_B == label).nonzero()[:, 0].to(device, non_blocking=True)
        frames_BCAHW = pixels_BCAHW[index][:, :, : rate * GROUP_FRAMES]
        pixels_BCGMHW = frames_BCAHW.unflatten(2, (rate, GROUP_FRAMES))
        group_J = torch.arange(num_target, device=device) * rate // num_target
        weight_BCJHW[index] = motion_weights(pixels_BCGMHW, group_J)
    return weight_BCJHW


PRETEXT = Pretext(
    build_model=build_model,
    sample_clips=sample_clips,
    step=prp_step,
    chance_accuracy=chance_accuracy,
)
