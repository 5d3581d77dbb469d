"""Which frames of a video make a clip. Axes: V clips of one video, T frames of a clip; all indexes
count stored frames from 0.

A view's timeline has `fps` frames per second whatever the video's own rate, so that speed means the
same in every data set.
"""

from dataclasses import dataclass

import numpy as np

from kdbatch.vocab.shards import Sample
from kdbatch.vocab.views import View


@dataclass(frozen=True, kw_only=True)
class ClipRequest:
    """Clips wanted of one video. Clips with the same number in `draw_V` share one draw of the
    augmentation.
    """

    frame_VT: np.ndarray
    draw_V: tuple[int, ...]


def timeline_frames(sample: Sample, view: View) -> int:
    """How many frames the video has on the view's timeline."""
    return max(1, int(sample.num_frames * view.fps / sample.fps + 1e-6))


def nearest_stored_frames(sample: Sample, view: View, time_T: np.ndarray) -> np.ndarray:
    """Stored frames nearest to places on the timeline."""
    frame_T = np.rint(time_T * (sample.fps / view.fps)).astype(np.int64)
    return np.clip(frame_T, 0, sample.num_frames - 1)


def clip_frames(sample: Sample, view: View, start: int) -> np.ndarray:
    """The clip from timeline place `start`; a video that ends before the clip does is looped, as
    labels do not change by that.
    """
    time_T = start + np.arange(view.num_frames) * view.stride_frames
    return nearest_stored_frames(sample, view, time_T % timeline_frames(sample, view))


def random_clip(sample: Sample, view: View, rng: np.random.Generator) -> ClipRequest:
    """One clip at a uniform start, or the even start below it where that saves decoding."""
    num_starts = max(1, timeline_frames(sample, view) - view.window_frames + 1)
    start = cheap_start(sample, view, int(rng.integers(num_starts)))
    return ClipRequest(frame_VT=clip_frames(sample, view, start)[None], draw_V=(0,))


def cheap_start(sample: Sample, view: View, start: int) -> int:
    """`start`, or the place before it, so that a clip made of every second, fourth, ... stored
    frame takes the even ones.

    Odd stored frames are those that no other frame needs (shard/transcode.py), so even ones alone
    cost a fifth less to decode. Only for clips that are looked at for what they show: odd and even
    frames are coded differently, so where a network is to tell speeds apart, a speed must not
    always come with one kind of them. Tasks of that sort draw their own starts.
    """
    ratio = sample.fps / view.fps
    step = ratio * view.stride_frames
    if not (ratio.is_integer() and step.is_integer()) or step % 2:
        return start
    return start - int(start * ratio) % 2


def evenly_spaced_clips(
    sample: Sample, view: View, num_clips: int, *, num_crops: int = 1
) -> ClipRequest:
    """`num_clips` clips at starts spread evenly from the first to the last possible one, rounded:
    round(linspace(0, L - window, n)).

    Each comes `num_crops` times in a row, with a draw of its own for every crop.
    """
    last = max(0, timeline_frames(sample, view) - view.window_frames)
    starts = (
        np.rint(np.linspace(0, last, num_clips)).astype(int)
        if num_clips > 1
        else np.array([last // 2])
    )
    frame_VT = np.stack([clip_frames(sample, view, int(s)) for s in starts]).repeat(
        num_crops, axis=0
    )
    return ClipRequest(frame_VT=frame_VT, draw_V=tuple(range(num_crops)) * num_clips)
