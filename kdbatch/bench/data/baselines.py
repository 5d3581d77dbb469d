"""A baseline pipeline: the steps of MMAction2 for a training clip, with the same libraries.

Source: open-mmlab/mmaction2, mmaction/datasets/transforms/loading.py (DecordInit, SampleFrames,
DecordDecode) and processing.py (Resize, RandomResizedCrop, Flip, FormatShape), and
tools/data/resize_videos.py --dense for the files that its authors advise to make first. Here
pixels are converted to float and normalised on the host, as in its versions before 1.0, not on the
device.
"""

import io
import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from av.video.frame import PictureType
from torch import Tensor
from torch.utils.data import Dataset

from kdbatch.base.pyav import main_video, tolerant_open
from kdbatch.base.reading.local_name import local_name
from kdbatch.run.data.augment import MEAN, STD

try:
    import cv2  # pyright: ignore[reportMissingImports] - an extra: pip install 'kdbatch[bench]'
except ImportError:
    cv2 = None
try:
    import decord
except ImportError:  # it has no wheel for aarch64
    decord = None

MISSING_PACKAGES = [
    name
    for name, module in (("OpenCV (pip install 'kdbatch[bench]')", cv2), ("decord", decord))
    if module is None
]
"""The packages that the baseline needs and that are not installed."""
DENSE_SHORT_SIDE = 256


class BaselineClips(Dataset[Tensor]):
    """Random clips, one per item, as float32 CTHW. Item i is of file i modulo their number."""

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        num_frames: int,
        stride_frames: int,
        size_pixels: int,
        resize_pixels: int,
    ) -> None:
        self.paths, self.num_frames, self.stride_frames = paths, num_frames, stride_frames
        self.size_pixels, self.resize_pixels = size_pixels, resize_pixels

    def __getitem__(self, item: int) -> Tensor:
        assert cv2 is not None and decord is not None
        cv2.setNumThreads(0)  # one core per worker, as in MMAction2
        rng = np.random.default_rng(item)
        path = self.paths[item % len(self.paths)]
        reader = decord.VideoReader(io.BytesIO(path.read_bytes()), num_threads=1)
        span = (self.num_frames - 1) * self.stride_frames + 1
        start = int(rng.integers(max(1, len(reader) - span + 1)))
        frames_T = (start + np.arange(self.num_frames) * self.stride_frames) % len(reader)
        frame_THWC = reader.get_batch(frames_T.tolist()).asnumpy()
        height, width = self._resized_shape(*frame_THWC.shape[1:3])
        frames = [
            cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
            for frame in frame_THWC
        ]
        top, left, h, w = _random_box(height, width, rng)
        size = (self.size_pixels, self.size_pixels)
        frames = [
            cv2.resize(frame[top : top + h, left : left + w], size, interpolation=cv2.INTER_LINEAR)
            for frame in frames
        ]
        if rng.random() < 0.5:
            frames = [cv2.flip(frame, 1) for frame in frames]
        clip_THWC = np.stack(frames).astype(np.float32)
        clip_THWC -= np.float32(255) * np.array(MEAN, np.float32)
        clip_THWC /= np.float32(255) * np.array(STD, np.float32)
        return torch.from_numpy(np.ascontiguousarray(clip_THWC.transpose(3, 0, 1, 2)))

    def _resized_shape(self, height: int, width: int) -> tuple[int, int]:
        scale = self.resize_pixels / min(height, width)
        return round(height * scale), round(width * scale)


def _random_box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """MMAction2's RandomResizedCrop: 8 to 100 % of the area, aspect 3:4 to 4:3; ten tries, then
    the centre.
    """
    for _ in range(10):
        area = height * width * rng.uniform(0.08, 1.0)
        aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if h <= height and w <= width:
            return int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1)), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def reencode_dense(path: Path, out_path: Path) -> None:
    """Re-encode a video: short side 256, a key frame every 16 frames, x264's defaults, no sound."""
    with (
        tolerant_open(av.open, av.__version__)(local_name(path)) as source,
        av.open(local_name(out_path), "w", format="mp4") as out,
    ):
        coded = main_video(source.streams.video, best=source.streams.best("video"))
        assert coded is not None, path
        rate = Fraction(coded.average_rate or 25).limit_denominator(1001)
        stream = out.add_stream("libx264", rate=rate, options={"g": "16", "crf": "23"})
        for count, frame in enumerate(source.decode(coded)):
            if count == 0:
                scale = DENSE_SHORT_SIDE / min(frame.height, frame.width)
                stream.width, stream.height = (
                    round(side * scale / 2) * 2 for side in (frame.width, frame.height)
                )
                stream.pix_fmt = "yuv420p"
            small = frame.reformat(stream.width, stream.height, "yuv420p")
            small.pts, small.time_base, small.pict_type = count, 1 / rate, PictureType.NONE
            out.mux(stream.encode(small))
        out.mux(stream.encode(None))
