import fcntl
import logging
import multiprocessing
import os
import resource
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import clips
from support.clips import read_frames
from support.small_disk import small_disk

from kdbatch.base.errors import UserError
from kdbatch.base.temporary.private_folder import open_private_folder
from kdbatch.run.data.batches import StoredVideo, TrainingBatches, iterate_batches
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.decode import DECODERS, decode_frames
from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.run.data.decoding.frame_cache_files import (
    UNREAD_SECONDS,
    cache_file_bytes,
    cache_file_name,
    remove_stale_files,
)
from kdbatch.run.data.sampling import random_clip
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.views import View

PLENTY = 10**9


@pytest.fixture
def video(all_shards: Path) -> StoredVideo:
    return clips.videos_of(all_shards, "k400")[0]


def _is_right(video: StoredVideo, cache: FrameCache) -> bool:
    wanted = [3, 20, 4, 4, video.sample.num_frames - 1]
    found = read_frames(
        video.tar, video.sample, wanted, clip_reader=ClipReader(decoder="pyav", cache=cache)
    )
    return np.array_equal(found, decode_frames(video.tar, video.sample, wanted, decoder="pyav"))


def _cached_files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix in (".yuv", ".part"))


def _remove_stale(folder: Path) -> int:
    with open_private_folder(folder) as opened:
        return remove_stale_files(opened)


@pytest.mark.parametrize("name", DATASETS)
def test_frames_from_the_cache_are_the_decoders_bit_for_bit(
    all_shards: Path, tmp_path: Path, name: str
) -> None:
    cache, rng = FrameCache(tmp_path, max_bytes=PLENTY), np.random.default_rng(0)
    for video in clips.videos_of(all_shards, name)[:3]:
        last = video.sample.num_frames - 1
        for wanted in (
            [0],
            list(range(1, 17, 2)),
            [last, 0, 0],
            rng.integers(0, last, 9).tolist(),
            list(range(last + 1)),
        ):
            found = read_frames(
                video.tar, video.sample, wanted, clip_reader=ClipReader(decoder="pyav", cache=cache)
            )
            assert cache.read(video.sample, wanted) is not None
            for decoder in DECODERS:
                assert np.array_equal(
                    found, decode_frames(video.tar, video.sample, wanted, decoder=decoder)
                )


def test_a_batch_does_not_depend_on_the_cache_or_on_the_process_that_fills_it(
    all_shards: Path, tmp_path: Path
) -> None:
    view, videos = View(num_frames=4, size_pixels=32), clips.videos_of(all_shards, "k400")

    def read_all(cache: FrameCache | None, num_workers: int) -> list[torch.Tensor]:
        source = TrainingBatches(
            videos,
            view=view,
            batch_clips=4,
            seed=1,
            sample_clips=lambda chosen, rng: (
                [random_clip(v.sample, view, rng) for v in chosen],
                {},
            ),
            clip_reader=ClipReader(decoder="pyav", cache=cache),
        )
        return [
            clip.clone()
            for batch in iterate_batches(source, range(8), num_workers=num_workers)
            for clip in batch.clips
        ]

    plain = read_all(None, 0)
    for num_workers in (0, 2):
        folder = tmp_path / str(num_workers)
        for _ in ("filling", "filled"):
            found = read_all(FrameCache(folder, max_bytes=PLENTY), num_workers)
            assert all(torch.equal(a, b) for a, b in zip(plain, found, strict=True))
            assert len(_cached_files(folder)) == len(videos)


def _read_all(folder: Path, videos: list[StoredVideo], order: list[int]) -> None:
    cache = FrameCache(folder, max_bytes=PLENTY)
    if not all(_is_right(videos[i], cache) for i in order):
        os._exit(1)


def test_processes_that_fill_one_cache_at_once_see_right_frames_and_write_each_video_once(
    all_shards: Path, tmp_path: Path
) -> None:
    videos = clips.videos_of(all_shards, "k400")
    fork = multiprocessing.get_context("fork")
    orders = [
        np.random.default_rng(seed // 2).permutation(len(videos)).tolist() for seed in range(4)
    ]
    processes = [fork.Process(target=_read_all, args=(tmp_path, videos, order)) for order in orders]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 4
    assert _cached_files(tmp_path) == sorted(cache_file_name(v.sample) for v in videos)
    assert int((tmp_path / "ledger").read_text()) == sum(cache_file_bytes(v.sample) for v in videos)


def _fill(folder: Path, videos: list[StoredVideo]) -> None:
    for video in videos:
        FrameCache(folder, max_bytes=PLENTY).add(video.tar, video.sample)


def _folder_of_a_killed_writer(parent: Path, videos: list[StoredVideo]) -> Path:
    """A cache folder with a part whose writer was killed. A writer may finish first: try again."""
    for attempt in range(20):
        folder = parent / str(attempt)
        writer = multiprocessing.get_context("fork").Process(target=_fill, args=(folder, videos))
        writer.start()
        while not list(folder.glob("*.part")) and writer.is_alive():
            time.sleep(0.0005)
        os.kill(writer.pid or 0, signal.SIGKILL)
        writer.join()
        if list(folder.glob("*.part")):
            return folder
    raise AssertionError("no writer was killed while it wrote")


def test_a_writer_that_is_killed_leaves_nothing_that_can_be_read(
    all_shards: Path, tmp_path: Path
) -> None:
    videos = clips.videos_of(all_shards, "k400")
    folder = _folder_of_a_killed_writer(tmp_path, videos)
    cache = FrameCache(folder, max_bytes=PLENTY)
    assert all(_is_right(v, cache) for v in videos)
    assert _cached_files(folder) == sorted(cache_file_name(v.sample) for v in videos)
    assert int((folder / "ledger").read_text()) == sum(cache_file_bytes(v.sample) for v in videos)


@pytest.mark.parametrize("damage", ["byte", "cut", "empty"])
def test_a_corrupt_file_is_noticed_and_written_again(
    video: StoredVideo, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    assert _is_right(video, FrameCache(tmp_path, max_bytes=PLENTY))
    path = tmp_path / cache_file_name(video.sample)
    whole = path.read_bytes()
    if damage == "byte":
        corrupt = bytearray(whole)
        corrupt[-7] ^= 1  # in the last frame
        path.write_bytes(corrupt)
    else:
        path.write_bytes(whole[: len(whole) // 2 if damage == "cut" else 0])
    assert _is_right(video, FrameCache(tmp_path, max_bytes=PLENTY))
    assert path.read_bytes() == whole
    assert "contained a damaged video" in caplog.text


def test_no_more_than_the_limit_is_taken_and_a_run_logs_that_once(
    all_shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    videos = clips.videos_of(all_shards, "k400")
    limit = cache_file_bytes(videos[0].sample) + cache_file_bytes(videos[1].sample) + 1000
    cache = FrameCache(tmp_path, max_bytes=limit)
    for process in (
        cache,
        FrameCache.from_arguments(cache.to_arguments()),
    ):
        assert all(_is_right(v, process) for v in videos)
    assert sum((tmp_path / name).stat().st_size for name in _cached_files(tmp_path)) <= limit
    assert len(_cached_files(tmp_path)) >= 2
    warnings = [
        record.getMessage() for record in caplog.records if record.levelno == logging.WARNING
    ]
    assert len(warnings) == 1 and "max_gb in kdbatch.toml" in warnings[0]
    assert _is_right(videos[-1], FrameCache(tmp_path, max_bytes=limit))  # another run
    assert len(caplog.records) == 2


def test_a_file_size_limit_costs_the_cache_and_not_the_run(
    all_shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, limits = (
        FrameCache(tmp_path, max_bytes=PLENTY),
        resource.getrlimit(resource.RLIMIT_FSIZE),
    )
    try:
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (200_000, limits[1])
        )  # every file of a video is larger
        assert all(_is_right(v, cache) for v in clips.videos_of(all_shards, "k400")[:3])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _cached_files(tmp_path) == [] and int((tmp_path / "ledger").read_text()) == 0
    assert len(caplog.records) == 1 and "cannot be filled further" in caplog.text


def test_a_full_disk_costs_the_cache_and_not_the_run(
    all_shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    videos = clips.videos_of(all_shards, "k400")
    size = cache_file_bytes(videos[0].sample) + 300_000
    with small_disk(tmp_path, size=str(size)):
        cache = FrameCache(tmp_path, max_bytes=PLENTY)
        assert all(_is_right(v, cache) for v in videos)
        assert _cached_files(tmp_path) == [cache_file_name(videos[0].sample)]
    assert len(caplog.records) == 1 and "No space left" in caplog.text


def test_a_folder_that_cannot_be_made_costs_the_cache_and_not_the_run(
    video: StoredVideo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert _is_right(video, FrameCache(tmp_path / "file" / "cache", max_bytes=PLENTY))
    assert len(caplog.records) == 1 and "Not a directory" in caplog.text


def test_a_damaged_video_is_reported_by_the_decoder_and_not_cached(
    video: StoredVideo, tmp_path: Path
) -> None:
    sample = video.sample
    raw = bytearray(video.tar.read_bytes())
    raw[sample.offset + 900 : sample.offset + sample.num_bytes] = bytes(sample.num_bytes - 900)
    (tmp_path / "a.tar").write_bytes(raw)
    with pytest.raises(UserError, match=f"a.tar: {sample.key} cannot be read"):
        read_frames(
            tmp_path / "a.tar",
            sample,
            [0, 20],
            clip_reader=ClipReader(
                decoder="pyav", cache=FrameCache(tmp_path / "cache", max_bytes=PLENTY)
            ),
        )
    assert (
        _cached_files(tmp_path / "cache") == []
        and int((tmp_path / "cache" / "ledger").read_text()) == 0
    )


def test_other_content_under_the_same_key_is_another_file(video: StoredVideo) -> None:
    sample = video.sample
    others = [
        replace(sample, **{name: getattr(sample, name) + 2})
        for name in ("crc32", "num_bytes", "num_frames", "width")
    ]
    assert len({cache_file_name(s) for s in (sample, *others)}) == 5
    moved = replace(sample, offset=sample.offset + 512, place=7, label=3, splits=("test01",))
    assert cache_file_name(moved) == cache_file_name(
        sample
    )  # the same video in another tar is the same video


def test_files_that_are_not_read_are_removed_and_reading_updates_their_time(
    video: StoredVideo, all_shards: Path, tmp_path: Path
) -> None:
    assert _is_right(video, FrameCache(tmp_path, max_bytes=PLENTY))
    path, old = tmp_path / cache_file_name(video.sample), time.time() - UNREAD_SECONDS - 60
    os.utime(path, (old, old))
    assert _is_right(video, FrameCache(tmp_path, max_bytes=PLENTY))
    assert path.stat().st_mtime > old + 60
    os.utime(path, (old, old))
    other = next(v for v in clips.videos_of(all_shards, "hmdb51"))
    assert _is_right(other, FrameCache(tmp_path, max_bytes=cache_file_bytes(other.sample)))
    assert _cached_files(tmp_path) == [cache_file_name(other.sample)]


def test_only_stale_files_of_the_cache_are_removed(video: StoredVideo, tmp_path: Path) -> None:
    name = cache_file_name(video.sample)
    ours = [name, f"{name}.part", f"{FrameCache(tmp_path, max_bytes=PLENTY).token}.said"]
    theirs = [
        "foreman_cif.yuv",
        "Take-0123456789abcdef.yuv",
        "thesis.pdf.part",
        f"{name}.part.part",
        "notes.said",
        "ledger",
    ]
    old = time.time() - UNREAD_SECONDS - 60
    for path in map(tmp_path.joinpath, (*ours, *theirs)):
        path.write_text("some text")
        os.utime(path, (old, old))
    assert _remove_stale(tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(theirs)


def test_each_video_is_counted_once_while_others_are_published(
    video: StoredVideo, tmp_path: Path
) -> None:
    """At any moment each file has the name of a part or its final name."""
    for attempt in range(8):
        parts = [
            tmp_path / str(attempt) / f"{cache_file_name(replace(video.sample, crc32=i))}.part"
            for i in range(100)
        ]
        parts[0].parent.mkdir()
        with ExitStack() as writers:
            for part in parts:
                file = writers.enter_context(part.open("wb", buffering=0))
                file.write(b"ten bytes.")
                fcntl.flock(file, fcntl.LOCK_EX)
            thread = writers.enter_context(ThreadPoolExecutor(1))
            publishing = [thread.submit(part.rename, part.with_suffix("")) for part in parts]
            while not publishing[-1].done():
                assert _remove_stale(tmp_path / str(attempt)) == 1000


def test_a_temporary_error_does_not_end_the_filling(
    video: StoredVideo, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "cache"
    cache = FrameCache(folder, max_bytes=PLENTY)
    assert not cache.add(tmp_path / "gone.tar", video.sample)
    assert not caplog.records  # the decoder says what is wrong with a tar
    shutil.rmtree(folder)
    folder.write_text("not a folder")
    assert not cache.add(video.tar, video.sample)
    folder.unlink()
    assert cache.add(video.tar, video.sample)


def test_an_original_video_is_never_put_into_the_cache(video: StoredVideo, tmp_path: Path) -> None:
    cache = FrameCache(tmp_path, max_bytes=PLENTY)
    assert cache.accepts(video.sample)
    assert not cache.accepts(replace(video.sample, extradata=""))
    assert not cache.accepts(replace(video.sample, width=171))
