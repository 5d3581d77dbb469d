import json
import multiprocessing
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from kdbatch.run.bench.data import Bench, Row, as_json, as_lines, bench_data
from kdbatch.run.bench.meter import measure, tree_cpu_seconds
from kdbatch.run.bench.peers import DENSE_SHORT_SIDE, HAS_OPENCV, PeerClips, reencode_dense
from kdbatch.run.bench.streams import alone, limit, loader
from kdbatch.run.data import Video
from kdbatch.run.decode import DECODERS, decode_frames
from kdbatch.shard.loose import shard_loose, videos_below
from kdbatch.shard.toy import ToySize, write_toy
from kdbatch.vocab.progress import silent

SIZE = ToySize(
    k400_train=1,
    k400_val=0,
    ssv2_train=1,
    ucf101_clips_per_group=1,
    hmdb51_train=1,
    hmdb51_unused=0,
    num_motions=1,
    min_frames=36,
    max_frames=44,
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("bench") / "toys"
    write_toy(folder, processes=1, progress=silent, size=SIZE)
    return [videos_below(folder / "k400")[0], videos_below(folder / "hmdb51")[0]]


@pytest.fixture(scope="module")
def videos(originals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> list[Video]:
    return [Video(*found) for found in shard_loose(originals, tmp_path_factory.mktemp("loose"), processes=1, progress=silent)]


def _work(seconds: float) -> None:
    while time.process_time() < seconds:
        pass


def test_the_processor_time_of_children_counts_while_they_live_and_when_they_have_ended() -> None:
    child = multiprocessing.get_context("fork").Process(target=_work, args=(0.4,))
    before = tree_cpu_seconds()
    child.start()
    while tree_cpu_seconds() - before < 0.2 and child.is_alive():
        time.sleep(0.02)
    assert child.is_alive()
    child.join()
    assert 0.35 < tree_cpu_seconds() - before < 0.8


def test_speed_is_clips_over_the_time_that_they_took(videos: list[Video]) -> None:
    """A stream that works 4 ms for each of its clips gives 250 in a second of processor time."""

    def work(video: Video, wanted: list[int]) -> np.ndarray:
        end = time.process_time() + 0.004
        while time.process_time() < end:
            pass
        return np.empty(0)

    speed = measure(alone(videos, work), seconds=0.5)
    assert 200 < speed.clips_per_cpu_second < 270
    assert speed.clips_per_second < 260


def test_a_stream_that_is_closed_leaves_no_process(videos: list[Video]) -> None:
    stream = loader(videos, 2, decoder="pyav")()
    assert next(stream) > 0
    stream.close()
    deadline = time.monotonic() + 5
    while multiprocessing.active_children() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("clips_per_video", [1, 4])
def test_the_loader_counts_clips_and_not_videos(videos: list[Video], clips_per_video: int) -> None:
    stream = loader(videos, 0, decoder="pyav", clips_per_video=clips_per_video, augment_on=torch.device("cpu"))()
    assert [next(stream) for _ in range(3)] == [clips_per_video * len(videos)] * 3  # two videos fit into a batch
    stream.close()


def test_every_way_asks_for_sixteen_even_frames_two_apart(videos: list[Video]) -> None:
    seen: list[list[int]] = []

    def note(video: Video, wanted: list[int]) -> np.ndarray:
        seen.append(wanted)
        assert max(wanted) < video.sample.num_frames
        return decode_frames(video.tar, video.sample, wanted, decoder="pyav")

    stream = alone(videos, note)()
    for _ in range(20):
        next(stream)
    assert all(np.diff(wanted).tolist() == [2] * 15 and wanted[0] % 2 == 0 for wanted in seen)


def test_the_limit_decodes_on_and_on(videos: list[Video]) -> None:
    stream = limit(videos)()
    assert sum(next(stream) for _ in range(3 * len(videos))) == 3 * len(videos)


def test_the_dense_files_have_a_key_frame_every_sixteen_and_all_frames(originals: list[Path], tmp_path: Path) -> None:
    for number, path in enumerate(originals):
        out = tmp_path / f"{number}.mp4"
        reencode_dense(path, out)
        with av.open(str(path)) as source, av.open(str(out)) as made:
            num_frames = sum(1 for _ in source.decode(video=0))
            frames = list(made.decode(video=0))
        assert len(frames) == num_frames
        assert min(frames[0].width, frames[0].height) == DENSE_SHORT_SIDE
        assert {i for i, frame in enumerate(frames) if frame.key_frame} >= set(range(0, num_frames, 16))


@pytest.mark.skipif(not HAS_OPENCV, reason="the usual pipeline needs OpenCV: pip install 'kdbatch[bench]'")
def test_the_usual_pipeline_gives_normalised_square_clips(originals: list[Path]) -> None:
    clips = PeerClips(originals, num_frames=16, stride_frames=2, size_pixels=112, resize_pixels=128)
    found = clips[0], clips[0], clips[2]
    assert found[0].shape == (3, 16, 112, 112) and found[0].dtype == torch.float32
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert -2.1 < float(found[0].min()) < float(found[0].max()) < 2.9  # 0 and 255, normalised


def test_every_decoder_has_its_rows_and_the_cache_beats_decoding(originals: list[Path], videos: list[Video], tmp_path: Path) -> None:
    stored = [(v.tar, v.sample) for v in videos]
    bench = bench_data(originals, stored, folder=tmp_path, seconds=0.1, progress=silent, repeats=1, num_videos=12)
    rows = {row.key: row for row in bench.rows}
    assert {f"{kind}.{decoder}" for kind in "bc" for decoder in DECODERS} <= set(rows)
    assert rows["d.yuv"].clips_per_cpu_second > rows["b.pyav"].clips_per_cpu_second
    assert ("a" in rows) == HAS_OPENCV
    for row in bench.rows:
        assert row.clips_per_cpu_second > 0 and row.clips_per_second > 0
        assert row.ratio == (pytest.approx(row.clips_per_cpu_second / rows["a"].clips_per_cpu_second) if HAS_OPENCV else None)
    assert [row["key"] for row in json.loads(as_json(bench))["rows"]] == list(rows)


def test_the_table_says_what_is_missing_and_how_to_get_it() -> None:
    row = Row(key="a", title="x", num_workers=2, clips_per_cpu_second=17.04, clips_per_second=30.0, ratio=None)
    lines = as_lines(Bench(rows=(row,), notes=("Rows a and a2 need OpenCV",)))
    assert len(lines) == 3
    assert lines[1].split() == ["a", "x", "17.0", "-", "30.0", "2"]
    assert lines[-1].startswith("Rows a")
