"""Which frames of a video make a clip.

A view's timeline has `fps` frames per second whatever the video's own rate, so that speed means the
same in every data set. Axes: V clips of one video, T frames of a clip; indexes of stored frames
count from 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdbatch.vocab.shards.index import Sample
from kdbatch.vocab.views import View

_HALF = 0.5 + 1e-6  # a position between two frames is so in spite of rounding errors


@dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """Clips to read of one video. Clips with the same number in `draw_V` share their augmentation
    parameters.
    """

    frame_VT: np.ndarray
    draw_V: tuple[int, ...]


def timeline_frames(sample: Sample, view: View) -> int:
    """The number of frames of a video on the view's timeline."""
    return max(1, int(sample.num_frames * view.fps / sample.fps + 1e-6))


def nearest_stored_frames(sample: Sample, view: View, time_T: np.ndarray) -> np.ndarray:
    """The stored frames nearest to positions on the timeline; of two equally near, the later one.

    numpy's rounding takes the even one, so that positions one stored frame apart, at 0.5, 1.5, 2.5,
    would give 0, 2, 2.
    """
    frame_T = np.floor(time_T * (sample.fps / view.fps) + _HALF).astype(np.int64)
    return np.minimum(np.maximum(frame_T, 0), sample.num_frames - 1)


def clip_frames(sample: Sample, view: View, start: int | Sequence[int] | np.ndarray) -> np.ndarray:
    """Stored frames (T,) of the clip that starts at timeline position `start`; (V, T) of V starts.

    A video that ends before a clip does is looped, which does not change its label.
    """
    time_VT = np.asarray(start)[..., None] + np.arange(view.num_frames) * view.stride_frames
    return nearest_stored_frames(sample, view, time_VT % timeline_frames(sample, view))


def random_clip(sample: Sample, view: View, rng: np.random.Generator) -> ClipRequest:
    """One clip at a uniform start, or at the even start below it where that saves decoding."""
    num_starts = max(1, timeline_frames(sample, view) - view.window_frames + 1)
    start = cheap_start(sample, view, int(rng.integers(num_starts)))
    return ClipRequest(frame_VT=clip_frames(sample, view, [start]), draw_V=(0,))


def cheap_start(sample: Sample, view: View, start: int) -> int:
    """`start`, or the position before it, so that a clip of every second, fourth, ... stored frame
    takes even frames.

    In shards of older versions odd frames are those that no other frame needs, so even frames alone
    cost a fifth less to decode. In today's, any frame may be such a one (shard/transcode.py), and
    an even start only keeps the clips of a run the same. This is for clips that are used for their
    content only; tasks that judge speed draw their own starts.
    """
    ratio = sample.fps / view.fps
    step = ratio * view.stride_frames
    if not (ratio.is_integer() and step.is_integer()) or step % 2:
        return start
    return start - int(start * ratio) % 2


def evenly_spaced_clips(
    sample: Sample, view: View, num_clips: int, *, num_crops: int = 1
) -> ClipRequest:
    """`num_clips` clips at evenly spaced starts, from the first possible one to the last.

    The starts are round(linspace(0, last, num_clips)); a single clip starts in the middle. Each
    clip is repeated `num_crops` times in a row, with its own augmentation parameters per crop.
    """
    last = max(0, timeline_frames(sample, view) - view.window_frames)
    starts = np.array([last // 2])
    if num_clips > 1:
        starts = np.rint(np.linspace(0, last, num_clips)).astype(int)
    frame_VT = clip_frames(sample, view, starts).repeat(num_crops, axis=0)
    return ClipRequest(frame_VT=frame_VT, draw_V=tuple(range(num_crops)) * num_clips)
