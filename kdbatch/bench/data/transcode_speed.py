"""Compares the speed of sharding with the same transcode by FFmpeg's libraries and nothing else."""

import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from statistics import median

import av
from av.video.reformatter import VideoReformatter

from kdbatch.base.progress import Progress, silent
from kdbatch.base.reading.local_name import local_name
from kdbatch.base.temporary.temporary_folder import temporary_folder
from kdbatch.bench.data.loose_videos import shard_videos
from kdbatch.shard.source_video import open_video
from kdbatch.shard.transcode import X264, FrameTypes, output_size, scale_frame

NUM_VIDEOS = 5  # the first of many: each is transcoded twice per repeat


def relative_transcode_speed(
    paths: Sequence[Path], *, progress: Progress, repeats: int = 5
) -> float:
    """The speed of sharding per core divided by that of `transcode_only`.

    Both run in this process, in turn; the result is the median of the repeats.

    Raises:
        BrokenVideo, UserError: a video is broken.
    """
    paths, shares = paths[:NUM_VIDEOS], []
    for repeat in range(repeats):
        progress(repeat, repeats, "sharding, and FFmpeg alone")
        with temporary_folder("bench") as folder:
            start = time.process_time()
            for path in paths:
                transcode_only(path, folder / "plain.mp4")
            middle = time.process_time()
            shard_videos(paths, folder, processes=1, progress=silent)
            shares.append((middle - start) / (time.process_time() - middle))
    progress(repeats, repeats, "")
    return median(shares)


def transcode_only(path: Path, out_path: Path) -> None:
    """Decode, scale and encode every frame once, as `transcode` does it.

    Nothing is checked, frames are not resampled to a constant rate, and none is rotated.
    """
    scaler, types = VideoReformatter(), FrameTypes()
    with (
        open_video(path) as (source, stream),
        av.open(local_name(out_path), "w", format="mp4", options={"movflags": "+faststart"}) as out,
    ):
        rate = Fraction(stream.average_rate or 25).limit_denominator(1001)
        small = out.add_stream("libx264", rate=rate, options=X264)
        small.width, small.height = output_size(stream.width, stream.height)
        small.pix_fmt = "yuv420p"
        for count, frame in enumerate(source.decode(stream)):
            picture = scale_frame(scaler, frame, width=small.width, height=small.height)
            picture.pts, picture.time_base = count, 1 / rate
            picture.pict_type = types.draw(count, picture)
            out.mux(small.encode(picture))
        out.mux(small.encode(None))
