"""Measures `kdbatch bench data`: one row per method of reading training clips.

A clip consists of 16 frames, 2 apart, that start at a random even frame.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path

import numpy as np
import torch

from kdbatch.base.errors import UserError
from kdbatch.base.progress import Progress
from kdbatch.base.temporary.temporary_folder import temporary_folder
from kdbatch.bench.data.baselines import MISSING_PACKAGES, reencode_dense
from kdbatch.bench.data.decoders import nvdec_stream, torchcodec_notes, usable_decoders
from kdbatch.bench.data.meter import Speed, Stream, measure_speed
from kdbatch.bench.data.rows import (
    BASELINE_ROW,
    LIMIT,
    LIMIT_OF_FOUR,
    DataBench,
    data_row,
    derive_numbers,
)
from kdbatch.bench.data.streams import (
    baseline_stream,
    decoding_stream,
    limit_stream,
    loader_stream,
    single_process_stream,
)
from kdbatch.run.data.batches import StoredVideo
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.run.data.decoding.frame_cache_files import cache_file_bytes
from kdbatch.run.data.decoding.yuv import yuv_to_rgb
from kdbatch.vocab.shards.index import Sample

NUM_WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class ReadingMethod:
    """A row before it is measured. `limit` is the key of the row that it cannot beat, or empty."""

    key: str
    title: str
    num_workers: int
    stream: Stream
    limit: str = ""


def bench_data(
    originals: Sequence[Path],
    stored: Sequence[tuple[Path, Sample]],
    *,
    folder: Path,
    seconds: float,
    progress: Progress,
    repeats: int = 5,
    num_videos: int = 200,
) -> DataBench:
    """Measure every method, in turn, `repeats` times, each for `seconds`.

    `stored` are the videos of `originals` in shards; both are repeated up to `num_videos`.
    `folder` is for temporary files.

    Raises:
        UserError: there is no room for the frame cache.
    """
    videos = [
        StoredVideo(tar, replace(sample, key=f"{sample.key}-{i}"))
        for i, (tar, sample) in zip(range(num_videos), cycle(stored))
    ]
    paths = [path for _, path in zip(range(num_videos), cycle(originals))]
    torch.set_num_threads(1)  # as a run on a CPU does
    with temporary_folder("bench", parent=_cache_parent(videos)) as frames:
        cache = FrameCache(frames, max_bytes=2 * _cache_bytes(videos))
        methods = [
            *_baseline_methods(paths, folder, progress),
            *_shard_methods(videos),
            *_cache_methods(videos, cache, progress),
            *_nvdec_methods(videos),
        ]
        speeds = _measure_all(methods, repeats=repeats, seconds=seconds, progress=progress)
    notes = []
    if MISSING_PACKAGES:
        notes = [f"Rows a and a2 need {' and '.join(MISSING_PACKAGES)}, and ratios need row a"]
    notes += torchcodec_notes()
    rows = [
        data_row(speeds, m.key, title=m.title, num_workers=m.num_workers, limit=m.limit)
        for m in methods
    ]
    return DataBench(rows=tuple(rows), figures=derive_numbers(speeds), notes=tuple(notes))


def _baseline_methods(
    paths: Sequence[Path], folder: Path, progress: Progress
) -> list[ReadingMethod]:
    if MISSING_PACKAGES:
        return []
    dense: dict[Path, Path] = {}
    distinct = list(dict.fromkeys(paths))
    for number, path in enumerate(distinct):
        progress(number, len(distinct), f"encoding {path.name} at 256 pixels")
        dense[path] = folder / f"dense{number}.mp4"
        reencode_dense(path, dense[path])
    return [
        ReadingMethod(
            key=BASELINE_ROW,
            title="original files, the MMAction2 way",
            num_workers=NUM_WORKERS,
            stream=baseline_stream(paths, NUM_WORKERS),
        ),
        ReadingMethod(
            key="a2",
            title="256 pixels, GOP 16, the MMAction2 way",
            num_workers=NUM_WORKERS,
            stream=baseline_stream([dense[path] for path in paths], NUM_WORKERS),
        ),
    ]


def _shard_methods(videos: list[StoredVideo]) -> list[ReadingMethod]:
    """Shards read by each decoder, alone and in the loader, and the speed limits."""

    def load(key: str, title: str, stream: Stream, *, limit: str = LIMIT) -> ReadingMethod:
        return ReadingMethod(
            key=key,
            title=f"shards, loader, {title}",
            num_workers=NUM_WORKERS,
            stream=stream,
            limit=limit,
        )

    def decode(key: str, title: str, stream: Stream, *, limit: str = LIMIT) -> ReadingMethod:
        return ReadingMethod(
            key=key,
            title=f"shards, decoding alone, {title}",
            num_workers=0,
            stream=stream,
            limit=limit,
        )

    decoders, pyav = usable_decoders(), ClipReader(decoder="pyav")
    four = loader_stream(videos, NUM_WORKERS, clip_reader=pyav, clips_per_video=4)
    augmented = loader_stream(videos, NUM_WORKERS, clip_reader=pyav, augment_on=torch.device("cpu"))
    return [
        *(decode(f"b.{d}", d, decoding_stream(videos, decoder=d)) for d in decoders),
        decode(
            "b4",
            "pyav, 4 clips of each video",
            decoding_stream(videos, decoder="pyav", clips_per_video=4),
            limit=LIMIT_OF_FOUR,
        ),
        *(
            load(f"c.{d}", d, loader_stream(videos, NUM_WORKERS, clip_reader=ClipReader(decoder=d)))
            for d in decoders
        ),
        load("c4", "pyav, 4 clips of each video", four, limit=LIMIT_OF_FOUR),
        load("c+", "pyav, and augmented by a CPU", augmented),
        *_limit_methods(videos),
    ]


def _nvdec_methods(videos: list[StoredVideo]) -> list[ReadingMethod]:
    """torchcodec on the decoder of the GPU, where both are there."""
    if torchcodec_notes():
        return []
    return [
        ReadingMethod(
            key="g",
            title="shards, decoding alone, torchcodec on NVDEC",
            num_workers=0,
            stream=nvdec_stream(videos),
        )
    ]


def _limit_methods(videos: list[StoredVideo]) -> list[ReadingMethod]:
    """The speed limits of decoding."""
    return [
        ReadingMethod(
            key="e",
            title="libavcodec on the needed packets",
            num_workers=0,
            stream=limit_stream(videos, to_rgb=False),
        ),
        ReadingMethod(
            key=LIMIT,
            title="the limit: and libswscale to RGB",
            num_workers=0,
            stream=limit_stream(videos, to_rgb=True),
        ),
        ReadingMethod(
            key=LIMIT_OF_FOUR,
            title="the limit, 4 clips of each video",
            num_workers=0,
            stream=limit_stream(videos, to_rgb=True, clips_per_video=4),
        ),
    ]


def _cache_methods(
    videos: list[StoredVideo], cache: FrameCache, progress: Progress
) -> list[ReadingMethod]:
    for number, video in enumerate(videos):
        progress(number, len(videos), "filling the frame cache")
        if not cache.add(video.tar, video.sample):
            needed = f"{_cache_bytes(videos) / 1e9:.1f} GB"
            raise UserError(
                f"{cache.folder}: has no room for the frame cache, {needed}. Set TMPDIR to a "
                "folder that has."
            )

    def from_cache(video: StoredVideo, wanted: list[int]) -> np.ndarray:
        frame_NIW = cache.read(video.sample, wanted)
        assert frame_NIW is not None, video.sample.key
        return frame_NIW

    return [
        ReadingMethod(
            key="d.yuv",
            title="frame cache alone, YUV 4:2:0",
            num_workers=0,
            stream=single_process_stream(videos, from_cache),
        ),
        ReadingMethod(
            key="d.rgb",
            title="frame cache alone, RGB",
            num_workers=0,
            stream=single_process_stream(videos, lambda v, w: yuv_to_rgb(from_cache(v, w))),
        ),
        ReadingMethod(
            key="d",
            title="frame cache, loader",
            num_workers=NUM_WORKERS,
            stream=loader_stream(
                videos, NUM_WORKERS, clip_reader=ClipReader(decoder="pyav", cache=cache)
            ),
        ),
    ]


def _measure_all(
    methods: Sequence[ReadingMethod], *, repeats: int, seconds: float, progress: Progress
) -> dict[str, list[Speed]]:
    """Measure every method once per repeat, in a random order, so that other load on the machine
    affects all of them.
    """
    speeds: dict[str, list[Speed]] = {method.key: [] for method in methods}
    rng = np.random.default_rng(0)
    done, total = 0, repeats * len(methods)
    for _ in range(repeats):
        for i in rng.permutation(len(methods)):
            progress(done, total, methods[i].title)
            speeds[methods[i].key].append(measure_speed(methods[i].stream, seconds=seconds))
            done += 1
    progress(total, total, "")
    return speeds


def _cache_bytes(videos: Sequence[StoredVideo]) -> int:
    return sum(cache_file_bytes(video.sample) for video in videos)


def _cache_parent(videos: Sequence[StoredVideo]) -> Path | None:
    """/dev/shm if it has twice the room that the frames need, else None: the default for temporary
    files.
    """
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        return None
    has_room = shutil.disk_usage(memory).free > 2 * _cache_bytes(videos)
    return memory if has_room else None
