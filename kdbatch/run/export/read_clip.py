"""One clip of a video file, as the `load.py` of an export shows it to the network."""

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import torch
from av.error import FFmpegError
from av.video.frame import VideoFrame
from torch import Tensor

from kdbatch.base.errors import UserError
from kdbatch.base.pyav import main_video, orientation_of, tolerant_open

_open = tolerant_open(av.open, av.__version__)


def read_clip(path: Path, *, num_frames: int, size_pixels: int) -> Tensor:
    """`num_frames` frames spread over the whole video, as RGB pixels 0 to 255, (1, 3, T, H, W).

    Clips of training are consecutive frames instead. Frames are upright, as a player shows them.

    Raises:
        UserError: the file is missing, or is no video that decodes.
    """
    try:
        # Counted first: all pictures of a long video at once do not fit into memory.
        num_coded = sum(1 for _ in _frames(path))
        wanted = torch.linspace(0, num_coded - 1, num_frames).round().long().tolist()
        picture_of = {
            number: torch.from_numpy(_upright_rgb(frame))
            for number, frame in enumerate(_frames(path))
            if number in wanted
        }
        frame_THWC = torch.stack([picture_of[number] for number in wanted])
    except (FFmpegError, KeyError, OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", "") or str(error)
        raise UserError(f"{path}: cannot be read as a video ({reason})") from error
    frame_TCHW = frame_THWC.permute(0, 3, 1, 2).float()
    size = (size_pixels, size_pixels)
    clip_TCHW = torch.nn.functional.interpolate(frame_TCHW, size=size, mode="bilinear")
    return clip_TCHW.transpose(0, 1)[None]


def _frames(path: Path) -> Iterator[VideoFrame]:
    with _open(str(path.absolute())) as container:
        stream = main_video(container.streams.video, best=container.streams.best("video"))
        if stream is None:
            raise ValueError("it holds no video stream")
        yield from container.decode(stream)


def _upright_rgb(frame: VideoFrame) -> np.ndarray:
    """The picture as a player shows it, as (H, W, 3)."""
    return np.ascontiguousarray(orientation_of(frame).apply(frame.to_ndarray(format="rgb24")))
