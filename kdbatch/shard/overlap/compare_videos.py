"""Decides whether two videos show the same footage: enough of their frames agree at one offset.

Axes: S sparse frames of one video, D dense frames of the other, V views, 4 words of 64 bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from kdbatch.shard.overlap.frame_hash import NUM_BITS, VIEWS, mirrored, num_different

MAX_DIFFERENT = 60  # bits of 255, for two frames to agree
MIN_FRAMES = 3  # sparse frames that agree: about 1.5 seconds
MIN_AGREEING_SHARE = 0.5  # of the sparse frames that both videos would have
MIRRORED_VIEWS = 2  # the first views of the dense video are compared mirrored as well
_STEP_SECONDS = 0.1  # offsets in two neighbouring steps are one offset


@dataclass(frozen=True, kw_only=True)
class Frames:
    """The hashes of a video's frames that have contrast: words (T, V, 4) and their seconds (T)."""

    words: np.ndarray
    seconds: np.ndarray


@dataclass(frozen=True)
class ViewPair:
    """The parts of the pictures that are compared, names of VIEWS."""

    of_sparse: str
    of_dense: str
    is_mirrored: bool = False


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """`num_frames` of the `num_shared` sparse frames in the time that both videos show agree.

    `offset_seconds` is when the dense video begins, on the clock of the sparse one. `share_equal`
    is the share of bits that the agreeing frames have in common.
    """

    num_frames: int
    num_shared: int
    offset_seconds: float
    share_equal: float
    views: ViewPair


def find_agreement(sparse: Frames, dense: Frames) -> Agreement | None:
    """How the two videos agree, in the pair of views where most frames do; None if they do not."""
    best: Agreement | None = None
    for views, different_SD in _differences(sparse, dense):
        found = _at_one_offset(different_SD, sparse.seconds, dense.seconds, views)
        if found and (best is None or _strength(found) > _strength(best)):
            best = found
    return best


def _strength(agreement: Agreement) -> tuple[int, float]:
    return agreement.num_frames, agreement.share_equal


def _differences(sparse: Frames, dense: Frames) -> Iterator[tuple[ViewPair, np.ndarray]]:
    """The bits that differ (S, D), for each pair of views of which one at least is whole."""
    whole, *_ = VIEWS
    for view, name in enumerate(VIEWS):
        yield ViewPair(whole, name), _num_different(sparse, 0, dense.words[:, view])
        if view:
            yield ViewPair(name, whole), _num_different(sparse, view, dense.words[:, 0])
        if view < MIRRORED_VIEWS:
            other = mirrored(dense.words[:, view])
            yield ViewPair(whole, name, is_mirrored=True), _num_different(sparse, 0, other)


def _num_different(sparse: Frames, view: int, words_D4: np.ndarray) -> np.ndarray:
    return num_different(sparse.words[:, None, view], words_D4[None]).sum(-1, dtype=np.int16)


def _at_one_offset(
    different_SD: np.ndarray, second_S: np.ndarray, second_D: np.ndarray, views: ViewPair
) -> Agreement | None:
    frame_S, frame_D = np.nonzero(different_SD <= MAX_DIFFERENT)
    if len(np.unique(frame_S)) < MIN_FRAMES:
        return None
    offset = second_S[frame_S] - second_D[frame_D]
    step = np.floor(offset / _STEP_SECONDS).astype(np.int64)
    # each frame once per window of two steps
    pairs = np.unique(np.stack([np.r_[step, step - 1], np.r_[frame_S, frame_S]], 1), axis=0)
    windows, counts = np.unique(pairs[:, 0], return_counts=True)
    window = windows[counts.argmax()]
    begin = float((window + 1) * _STEP_SECONDS)
    on_dense_S = second_S - begin
    num_shared = int(((on_dense_S >= 0) & (on_dense_S <= second_D.max())).sum())
    num_frames = int(counts.max())
    if num_frames < max(MIN_FRAMES, MIN_AGREEING_SHARE * num_shared):
        return None
    is_here = (step == window) | (step == window + 1)
    nearest = different_SD[frame_S[is_here], frame_D[is_here]]
    best_S = [nearest[frame_S[is_here] == frame].min() for frame in np.unique(frame_S[is_here])]
    return Agreement(
        num_frames=num_frames,
        num_shared=max(num_shared, num_frames),
        offset_seconds=round(begin, 1),
        share_equal=1 - float(np.mean(best_S)) / NUM_BITS,
        views=views,
    )
