import json
import multiprocessing
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
import torch
from support import clips
from support.wait import wait_until

from kdbatch.base.progress import silent
from kdbatch.bench.data.baselines import (
    DENSE_SHORT_SIDE,
    MISSING_PACKAGES,
    BaselineClips,
    reencode_dense,
)
from kdbatch.bench.data.decoders import torchcodec_notes, usable_decoders
from kdbatch.bench.data.loose_videos import find_videos_below, shard_videos
from kdbatch.bench.data.measure import bench_data
from kdbatch.bench.data.meter import Speed, measure_speed, tree_cpu_seconds
from kdbatch.bench.data.rows import (
    DataBench,
    DataRow,
    data_as_json,
    data_as_lines,
    data_row,
    derive_numbers,
)
from kdbatch.bench.data.streams import (
    decoding_stream,
    limit_stream,
    loader_stream,
    single_process_stream,
)
from kdbatch.run.data.batches import StoredVideo
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.decode import DECODERS, decode_frames
from kdbatch.shard.toy.write import write_toy

SIZE = replace(clips.SIZE, k400_train=1, min_frames=36, max_frames=44)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bench") / "toys"
    write_toy(folder, processes=1, progress=silent, size=SIZE)
    return [find_videos_below(folder / "k400")[0], find_videos_below(folder / "hmdb51")[0]]


@pytest.fixture(scope="module")
def videos(originals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[StoredVideo]:
    return [
        StoredVideo(*found)
        for found in shard_videos(
            originals, tmp_path_factory.mktemp("loose"), processes=1, progress=silent
        )
    ]


def _work(seconds: float) -> None:
    while time.process_time() < seconds:
        pass


def test_the_cpu_time_of_children_counts_while_they_live_and_after_they_have_ended() -> None:
    child = multiprocessing.get_context("fork").Process(target=_work, args=(0.4,))
    before = tree_cpu_seconds()
    child.start()
    while tree_cpu_seconds() - before < 0.2 and child.is_alive():
        time.sleep(0.02)
    assert child.is_alive()
    child.join()
    assert 0.35 < tree_cpu_seconds() - before < 0.8


def test_speed_is_clips_over_the_time_that_they_took(videos: list[StoredVideo]) -> None:
    """A stream that works 4 ms for each of its clips gives 250 in a second of processor time."""

    def work(video: StoredVideo, wanted: list[int]) -> np.ndarray:
        end = time.process_time() + 0.004
        while time.process_time() < end:
            pass
        return np.empty(0)

    speed = measure_speed(single_process_stream(videos, work), seconds=0.5)
    assert 200 < speed.clips_per_cpu_second < 270
    assert speed.clips_per_second < 260


def test_a_stream_that_is_closed_leaves_no_process(videos: list[StoredVideo]) -> None:
    stream = loader_stream(videos, 2, clip_reader=ClipReader(decoder="pyav"))()
    assert next(stream) > 0
    stream.close()
    wait_until(lambda: not multiprocessing.active_children(), timeout=5)


@pytest.mark.parametrize("clips_per_video", [1, 4])
def test_the_loader_counts_clips_and_not_videos(
    videos: list[StoredVideo], clips_per_video: int
) -> None:
    stream = loader_stream(
        videos,
        0,
        clip_reader=ClipReader(decoder="pyav"),
        clips_per_video=clips_per_video,
        augment_on=torch.device("cpu"),
    )()
    assert [next(stream) for _ in range(3)] == [
        clips_per_video * len(videos)
    ] * 3  # two videos fit into a batch
    stream.close()


def test_every_stream_reads_sixteen_even_frames_two_apart(videos: list[StoredVideo]) -> None:
    seen: list[list[int]] = []

    def record(video: StoredVideo, wanted: list[int]) -> np.ndarray:
        seen.append(wanted)
        assert max(wanted) < video.sample.num_frames
        return decode_frames(video.tar, video.sample, wanted, decoder="pyav")

    stream = single_process_stream(videos, record)()
    for _ in range(20):
        next(stream)
    assert all(np.diff(wanted).tolist() == [2] * 15 and wanted[0] % 2 == 0 for wanted in seen)


@pytest.mark.parametrize("clips_per_video", [1, 4])
def test_decoding_alone_and_its_limit_count_clips_and_go_on(
    videos: list[StoredVideo], clips_per_video: int
) -> None:
    for stream in (
        decoding_stream(videos, decoder="pyav", clips_per_video=clips_per_video)(),
        limit_stream(videos, to_rgb=True, clips_per_video=clips_per_video)(),
        limit_stream(videos, to_rgb=False, clips_per_video=clips_per_video)(),
    ):
        assert [next(stream) for _ in range(3 * len(videos))] == [clips_per_video] * 3 * len(videos)


def test_four_clips_of_a_video_ask_for_each_frame_once(videos: list[StoredVideo]) -> None:
    seen: list[list[int]] = []
    stream = single_process_stream(
        videos, lambda _, wanted: seen.append(wanted), clips_per_video=4
    )()
    for _ in range(20):
        next(stream)
    assert all(wanted == sorted(set(wanted)) and 16 <= len(wanted) <= 64 for wanted in seen)
    assert max(map(len, seen)) > 16


def test_the_dense_files_have_a_key_frame_every_sixteen_and_all_frames(
    originals: list[Path], tmp_path: Path
) -> None:
    for number, path in enumerate(originals):
        out = tmp_path / f"{number}.mp4"
        reencode_dense(path, out)
        with av.open(str(path)) as source, av.open(str(out)) as made:
            num_frames = sum(1 for _ in source.decode(video=0))
            frames = list(made.decode(video=0))
        assert len(frames) == num_frames
        assert min(frames[0].width, frames[0].height) == DENSE_SHORT_SIDE
        assert {i for i, frame in enumerate(frames) if frame.key_frame} >= set(
            range(0, num_frames, 16)
        )


@pytest.mark.skipif(
    bool(MISSING_PACKAGES), reason=f"the usual pipeline needs {' and '.join(MISSING_PACKAGES)}"
)
def test_the_usual_pipeline_gives_normalised_square_clips(originals: list[Path]) -> None:
    dataset = BaselineClips(
        originals, num_frames=16, stride_frames=2, size_pixels=112, resize_pixels=128
    )
    found = dataset[0], dataset[0], dataset[2]
    assert found[0].shape == (3, 16, 112, 112) and found[0].dtype == torch.float32
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert -2.1 < float(found[0].min()) < float(found[0].max()) < 2.9  # 0 and 255, normalised


def test_every_decoder_has_its_rows_and_the_cache_beats_decoding(
    originals: list[Path], videos: list[StoredVideo], tmp_path: Path
) -> None:
    stored = [(v.tar, v.sample) for v in videos]
    bench = bench_data(
        originals, stored, folder=tmp_path, seconds=0.1, progress=silent, repeats=1, num_videos=12
    )
    rows = {row.key: row for row in bench.rows}
    assert {f"{kind}.{decoder}" for kind in "bc" for decoder in DECODERS} <= set(rows)
    assert rows["d.yuv"].clips_per_cpu_second > rows["b.pyav"].clips_per_cpu_second
    assert ("a" in rows) == (not MISSING_PACKAGES)
    assert len(bench.notes) == bool(MISSING_PACKAGES) + len(torchcodec_notes())
    for row in bench.rows:
        assert row.clips_per_cpu_second > 0 and row.clips_per_second > 0
        assert row.ratio == (
            pytest.approx(row.clips_per_cpu_second / rows["a"].clips_per_cpu_second)
            if not MISSING_PACKAGES
            else None
        )
    assert rows["b4"].share == pytest.approx(
        rows["b4"].clips_per_cpu_second / rows["e4.rgb"].clips_per_cpu_second
    )
    found = json.loads(data_as_json(bench, stored=[{"name": "a.mp4"}]))
    assert [row["key"] for row in found["rows"]] == list(rows)
    assert found["stored"] == [{"name": "a.mp4"}]
    assert ("share.decord" in {figure["key"] for figure in found["figures"]}) == (
        "decord" in DECODERS
    )
    assert {figure["key"] for figure in found["figures"]} >= {
        "share.pyav",
        "beyond_ms",
        "four",
        "four.limit",
    }


def _speeds(**clips_per_cpu_second: tuple[float, ...]) -> dict[str, list[Speed]]:
    return {
        key.replace("_", "."): [
            Speed(clips_per_cpu_second=c, clips_per_second=2 * c) for c in of_repeats
        ]
        for key, of_repeats in clips_per_cpu_second.items()
    }


def test_a_line_says_why_torchcodec_has_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not installed; installed without FFmpeg's libraries; usable, without a GPU."""
    module = ModuleType("torchcodec")
    monkeypatch.setitem(sys.modules, "torchcodec", module)
    found = []
    monkeypatch.delitem(DECODERS, "torchcodec", raising=False)
    found += torchcodec_notes()
    monkeypatch.setitem(DECODERS, "torchcodec", DECODERS["pyav"])
    for version in (None, 7):
        monkeypatch.setattr(module, "ffmpeg_major_version", version, raising=False)
        assert ("torchcodec" in usable_decoders()) == bool(version)
        found += torchcodec_notes()
    words = ("not installed here. Install it: pip install", "libraries of FFmpeg", "no CUDA device")
    assert len(found) == 3 and all(word in note for word, note in zip(words, found, strict=True))


def test_ratios_are_taken_in_each_repeat_and_then_their_median() -> None:
    """The second repeat was disturbed, and all rows with it: no ratio is."""
    speeds = _speeds(a=(10, 5, 10), b_pyav=(300, 150, 330), e_rgb=(400, 200, 400))
    row = data_row(speeds, "b.pyav", title="x", num_workers=0, limit="e.rgb")
    assert (row.ratio, row.share, row.clips_per_cpu_second, row.clips_per_second) == (
        30,
        0.75,
        300,
        600,
    )
    assert data_row(speeds, "a", title="x", num_workers=2, limit="").share is None


def test_derived_numbers_follow_their_closed_forms() -> None:
    """One clip costs 2 ms and four cost 5 ms; the loader adds 0.5 ms to a clip."""
    own = _speeds(
        b_pyav=(500,), b_decord=(200,), b4=(800,), c_pyav=(400,), c_decord=(180,), d_yuv=(4000,)
    )
    found = {
        f.key: f.value
        for f in derive_numbers(own | _speeds(e_rgb=(625,), e4_rgb=(1000,), a=(20,), a2=(40,)))
    }
    assert found["share.pyav"] == 0.8 and found["share.decord"] == 0.32
    assert found["beyond_ms"] == pytest.approx(0.5)
    assert found["four"] == pytest.approx(2.5) and found["four.limit"] == pytest.approx(2.5)
    assert (
        found["c.pyav/a"],
        found["c.decord/a"],
        found["c.pyav/a2"],
        found["c.decord/a2"],
        found["d.yuv/a"],
    ) == (20, 9, 10, 4.5, 200)


def test_numbers_about_a_decoder_that_is_not_installed_are_left_out() -> None:
    speeds = _speeds(b_pyav=(500,), b4=(800,), c_pyav=(400,), d_yuv=(4000,), a=(20,))
    found = {f.key for f in derive_numbers(speeds | _speeds(e_rgb=(625,), e4_rgb=(1000,)))}
    assert "share.pyav" in found and "c.pyav/a" in found
    assert not any("decord" in key for key in found)


def test_the_table_shows_what_is_missing_and_how_to_get_it() -> None:
    row = DataRow(
        key="a",
        title="x",
        num_workers=2,
        clips_per_cpu_second=17.04,
        clips_per_second=30.0,
        ratio=None,
        share=0.854,
    )
    lines = data_as_lines(DataBench(rows=(row,), figures=(), notes=("Rows a and a2 need OpenCV",)))
    assert len(lines) == 3
    assert lines[1].split() == ["a", "x", "17.0", "-", "85%", "30.0", "2"]
    assert lines[-1].startswith("Rows a")
