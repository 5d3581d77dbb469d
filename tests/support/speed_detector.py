"""A detector of a clip's speed that looks at how a video is encoded and not at what it shows.

Frames of different types differ in sharpness. Where types alternate, sharpness does in clips of
every frame and not in clips of every second one. Axes: N frames of a video, B clips, T frames of a
clip, H, W.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from unittest import mock

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from kdbatch.run.data.augment import apply_augment
from kdbatch.run.data.augment_params import sample_augment
from kdbatch.run.data.batches import StoredVideo
from kdbatch.run.tasks.rspnet import sample_clips
from kdbatch.shard import transcode as transcode_module
from kdbatch.shard.source_video import inspect_video, open_video, to_constant_rate
from kdbatch.shard.transcode import FrameTypes, output_size, scale_frame, transcode
from kdbatch.vocab.tasks.rspnet import SPEC, RSPNet
from kdbatch.vocab.views import View
from support.tasks import videos

SLOW = 1  # the speed that takes every stored frame
VIEW = View(augment=SPEC.augment)  # at 25 frames/s, as fast as the videos are taken to be


def frames_of_original(path: Path) -> np.ndarray:
    """All frames in RGB, NHWC, as a run reads originals."""
    timing = inspect_video(path)
    with open_video(path) as (source, stream):
        frames = to_constant_rate(source.decode(stream), timing)
        return np.stack([frame.to_ndarray(format="rgb24") for frame in frames])


def frames_without_loss(path: Path) -> np.ndarray:
    """All frames in RGB, NHWC, scaled as for storing, and not encoded."""
    scaler, timing, scaled = VideoReformatter(), inspect_video(path), []
    with open_video(path) as (source, stream):
        for frame in to_constant_rate(source.decode(stream), timing):
            width, height = output_size(frame.width, frame.height)
            small = scale_frame(scaler, frame, width=width, height=height)
            scaled.append(small.to_ndarray(format="rgb24"))
    return np.stack(scaled)


def frames_of_stored(path: Path) -> np.ndarray:
    """All frames in RGB, NHWC, of the video as it is stored."""
    with av.open(BytesIO(transcode(path).video), "r") as container:
        return np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])


def frames_of_draws(path: Path, num_draws: int) -> Iterator[np.ndarray]:
    """The same for several draws of the types of its frames.

    One draw of the types of a short video favours one speed or the other by chance.
    """
    for draw in range(num_draws):

        class Drawn(FrameTypes):
            def __init__(self, draw: int = draw) -> None:
                self._digest = bytes([draw])

        with mock.patch.object(transcode_module, "FrameTypes", Drawn):
            yield frames_of_stored(path)


def speed_auc(versions: Iterable[np.ndarray], *, num_clips: int) -> float:
    """How well the alternation of sharpness tells speed 1 from speed 2, from 0 to 1; 0.5 is chance.

    Clips are drawn, cut and augmented as for RSPNet, `num_clips` from each version of a video
    (NHWC). The result is the area under the curve of true over false alarms: the share of pairs of
    a slow and a fast clip in which the slow one alternates more.
    """
    drawn = [
        clip_sharpness(frame_NHWC, num_clips=num_clips, seed=seed)
        for seed, frame_NHWC in enumerate(versions)
    ]
    is_slow_B = np.concatenate([is_slow for is_slow, _ in drawn])
    return area_under_curve(alternation(np.concatenate([logs for _, logs in drawn])), is_slow_B)


def clip_sharpness(
    frame_NHWC: np.ndarray, *, num_clips: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Which clips are slow (B), and the sharpness of their frames (B, T)."""
    num_frames, height, width, _ = frame_NHWC.shape
    rng = np.random.default_rng(seed)
    (video,) = videos(num_frames, fps=VIEW.fps)
    sample = replace(video.sample, height=height, width=width)
    clips = [StoredVideo(video.tar, sample)] * num_clips
    requests, extra = sample_clips(clips, RSPNet(), VIEW, rng)
    logs = []
    for request in requests:
        box_seed = rng.integers(2**32)  # so that the number of draws of one clip changes no other
        params = sample_augment(
            VIEW.augment, height=height, width=width, rng=np.random.default_rng(box_seed)
        )
        top, left, rows, columns = params.box
        cut = frame_NHWC[request.frame_VT[0], top : top + rows, left : left + columns]
        clip_1CTHW = apply_augment(
            [torch.from_numpy(cut)], [params], size_pixels=112, device=torch.device("cpu")
        )
        logs.append(_sharpness(clip_1CTHW[0]))
    return extra["speed"] == SLOW, torch.stack(logs).numpy()


def _sharpness(clip_CTHW: Tensor) -> Tensor:
    """The log of the variance of the Laplacian of each frame."""
    grey_THW = clip_CTHW.mean(0)
    inner_THW = grey_THW[:, 1:-1, 1:-1]
    beside_THW = grey_THW[:, 1:-1, 2:] + grey_THW[:, 1:-1, :-2]
    above_THW = grey_THW[:, 2:, 1:-1] + grey_THW[:, :-2, 1:-1]
    return (beside_THW + above_THW - 4 * inner_THW).var((1, 2)).add(1e-6).log()


def alternation(logs_BT: np.ndarray) -> np.ndarray:
    """The share of the changes of sharpness that alternate from frame to frame, 0 to 1, (B)."""
    bend_BT = logs_BT[:, 1:-1] - (logs_BT[:, :-2] + logs_BT[:, 2:]) / 2
    sign_T = (-1.0) ** np.arange(bend_BT.shape[1])
    return np.abs((bend_BT * sign_T).sum(1)) / (np.abs(bend_BT).sum(1) + 1e-9)


def area_under_curve(score_B: np.ndarray, is_true_B: np.ndarray) -> float:
    """The share of pairs of a true and a false clip in which the true one scores higher."""
    higher = score_B[is_true_B][:, None] - score_B[~is_true_B]
    return float((higher > 0).mean() + (higher == 0).mean() / 2)
