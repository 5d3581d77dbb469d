"""Reads the luma of frames of a stored video: its key frames, or up to 30 a second.

Axes: T frames, H rows, W columns.
"""

import numpy as np
from av.video.frame import VideoFrame

from kdbatch.base.pyav import orientation_of
from kdbatch.shard.source_video import open_video, translate_decode_errors
from kdbatch.shard.stored import BrokenVideo
from kdbatch.shard.transcode import X264

SPARSE_SECONDS, DENSE_SECONDS = 0.5, 0.03
_MAX_KEY_SECONDS = 0.7  # 16 frames at 23 frames/s or more


def read_frames(
    video: bytes, *, is_dense: bool, fps: float, is_original: bool
) -> tuple[np.ndarray, np.ndarray]:
    """The luma (T, H, W) of frames, uint8, and their times (T) in seconds from the first one.

    The frames are at least SPARSE_SECONDS or DENSE_SECONDS apart.

    Raises:
        BrokenVideo: the video is damaged.
    """
    has_key_frames = not is_original and int(X264["g"]) <= _MAX_KEY_SECONDS * fps
    with translate_decode_errors(), open_video(video) as (container, stream):
        if not is_dense:
            stream.codec_context.skip_frame = "NONKEY" if has_key_frames else "NONREF"
        lumas, times = [], []
        for frame in container.decode(stream):
            time = float(frame.time or 0.0)
            if times and time < times[-1] + (DENSE_SECONDS if is_dense else SPARSE_SECONDS):
                continue
            luma_HW = _luma(frame)
            if not lumas or luma_HW.shape == lumas[0].shape:
                lumas.append(luma_HW)
                times.append(time)
    if not lumas:
        raise BrokenVideo("holds no frame that can be decoded")
    return np.stack(lumas), np.array(times, np.float32) - np.float32(times[0])


def _luma(frame: VideoFrame) -> np.ndarray:
    """The frame's luma (H, W) as a player shows it; originals may be stored turned."""
    turn = orientation_of(frame).apply
    kind, plane = frame.format, frame.planes[0]
    if not kind.name.startswith(("yuv4", "yuvj4")) or kind.components[0].bits != 8:
        return turn(frame.to_ndarray(format="gray"))
    rows_HL = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
    return turn(rows_HL[: frame.height, : frame.width])
