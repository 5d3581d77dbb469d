import io
import zlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from support import clips
from support.inputs import real_clips

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.bench.data.loose_videos import shard_videos
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.decode import DECODERS, decode_each, decode_frames
from kdbatch.run.data.decoding.frame_cache import FrameCache
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.shards.index import Sample


def _videos(all_shards: Path, name: str) -> list[tuple[Path, Sample]]:
    return [(video.tar, video.sample) for video in clips.videos_of(all_shards, name)]


def _all_frames(tar: Path, sample: Sample) -> np.ndarray:
    """The stored file, decoded from its first frame to its last."""
    mp4 = tar.read_bytes()[sample.offset : sample.offset + sample.num_bytes]
    with av.open(io.BytesIO(mp4), "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_frames_in_any_order_are_those_of_the_stored_file_read_from_its_start(
    all_shards: Path, name: str, decoder: str
) -> None:
    rng = np.random.default_rng(0)
    for tar, sample in _videos(all_shards, name)[:2]:
        frame_NHWC = _all_frames(tar, sample)
        assert len(frame_NHWC) == sample.num_frames
        start = int(rng.integers(sample.num_frames - 16))
        random = rng.integers(0, sample.num_frames, 9).tolist()
        for wanted in (
            list(range(start, start + 16, 2)),
            list(range(start, start + 8)),
            random,
            [sample.num_frames - 1, 0, 0],
            [17],
        ):
            found = decode_frames(tar, sample, wanted, decoder=decoder)
            assert found.dtype == np.uint8
            assert np.array_equal(found, frame_NHWC[wanted])


@pytest.mark.parametrize("decoder", DECODERS)
def test_videos_of_many_sizes_in_turn_do_not_disturb_each_other(
    all_shards: Path, decoder: str
) -> None:
    videos = [_videos(all_shards, name)[0] for name in DATASETS]
    whole = {sample.key: _all_frames(tar, sample) for tar, sample in videos}
    for turn in range(3):
        for tar, sample in videos:
            wanted = [turn, turn + 20, turn + 2]
            assert np.array_equal(
                decode_frames(tar, sample, wanted, decoder=decoder), whole[sample.key][wanted]
            )


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_failure_leaves_the_decoder_fit_for_the_next_video(
    all_shards: Path, tmp_path: Path, decoder: str
) -> None:
    tar, sample = _videos(all_shards, "k400")[0]
    whole = _all_frames(tar, sample)
    raw = bytearray(tar.read_bytes())
    raw[sample.offset + 2000 : sample.offset + sample.num_bytes] = bytes(sample.num_bytes - 2000)
    (tmp_path / "a.tar").write_bytes(raw)
    with pytest.raises(UserError):
        decode_frames(tmp_path / "a.tar", sample, [0, 39], decoder=decoder)
    assert np.array_equal(decode_frames(tar, sample, [0, 39], decoder=decoder), whole[[0, 39]])


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_frame_is_put_once_for_each_time_it_was_asked_for(
    all_shards: Path, decoder: str
) -> None:
    tar, sample = _videos(all_shards, "ucf101")[0]
    ranks: list[int] = []
    decode_each(
        tar, sample, [7, 3, 7, 30], lambda rank, frame_HWC: ranks.append(rank), decoder=decoder
    )
    assert sorted(ranks) == [0, 1, 2, 3]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_video_that_was_not_transcoded_is_read_whole(
    all_shards: Path, tmp_path: Path, decoder: str
) -> None:
    webm = next((all_shards.parent / "toys" / "ssv2").rglob("*.webm"))
    with av.open(str(webm)) as container:
        frame_NHWC = np.stack(
            [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        )
    num, height, width, _ = frame_NHWC.shape
    data = webm.read_bytes()
    (tmp_path / "a.tar").write_bytes(bytes(512) + data)
    kept = {
        "num_frames": num,
        "height": height,
        "width": width,
        "offset": 512,
        "num_bytes": len(data),
        "crc32": zlib.crc32(data),
    }
    sample = replace(_videos(all_shards, "ssv2")[0][1], extradata="", index_bytes=0, **kept)
    found = decode_frames(tmp_path / "a.tar", sample, [5, 0, num - 1], decoder=decoder)
    assert (
        np.abs(found.astype(int) - frame_NHWC[[5, 0, num - 1]]).max() <= 2
    )  # the two libraries round colours differently
    with pytest.raises(UserError, match="its checksum is wrong"):
        decode_frames(tmp_path / "a.tar", replace(sample, crc32=1), [0], decoder=decoder)
    with pytest.raises(UserError, match=f"(decord|PyAV) finds {num} frames, {num - 1} are there"):
        decode_frames(tmp_path / "a.tar", replace(sample, num_frames=num - 1), [0], decoder=decoder)
    with pytest.raises(UserError, match=f"its frames are {width}x{height}, not 8x{height}"):
        decode_frames(tmp_path / "a.tar", replace(sample, width=8), [0], decoder=decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_range_is_read_without_the_rest_of_the_video(
    all_shards: Path, tmp_path: Path, decoder: str
) -> None:
    tar, sample = _videos(all_shards, "k400")[0]
    frame_NHWC = _all_frames(tar, sample)
    raw = bytearray(tar.read_bytes())
    raw[sample.offset : sample.offset + 1000] = bytes(
        1000
    )  # the container's head: no one needs it who has the index
    (tmp_path / "a.tar").write_bytes(raw)
    assert np.array_equal(
        decode_frames(tmp_path / "a.tar", sample, [20, 22], decoder=decoder), frame_NHWC[[20, 22]]
    )


@pytest.mark.parametrize("decoder", DECODERS)
def test_damage_names_the_tar_and_the_key(all_shards: Path, tmp_path: Path, decoder: str) -> None:
    tar, sample = _videos(all_shards, "k400")[0]
    raw = bytearray(tar.read_bytes())
    raw[sample.offset + 900 : sample.offset + sample.num_bytes] = bytes(sample.num_bytes - 900)
    (tmp_path / "a.tar").write_bytes(raw)
    with pytest.raises(UserError, match=f"a.tar: {sample.key} cannot be read"):
        decode_frames(tmp_path / "a.tar", sample, [0, 20], decoder=decoder)
    (tmp_path / "a.tar").write_bytes(raw[: sample.offset + 100])
    with pytest.raises(
        UserError, match=f"a.tar: {sample.key} cannot be read .the tar is cut short"
    ):
        decode_frames(tmp_path / "a.tar", sample, [0], decoder=decoder)
    with pytest.raises(UserError, match=f"gone.tar: {sample.key} cannot be read"):
        decode_frames(tmp_path / "gone.tar", sample, [0], decoder=decoder)


def test_no_wanted_frame_gives_none_and_an_unknown_decoder_is_an_error(all_shards: Path) -> None:
    tar, sample = _videos(all_shards, "k400")[0]
    assert decode_frames(tar, sample, [], decoder="pyav").shape == (
        0,
        sample.height,
        sample.width,
        3,
    )
    with pytest.raises(UserError, match="Did you mean 'pyav'"):
        decode_frames(tar, sample, [0], decoder="pyaf")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("decoder", "is_cached"), [*((decoder, False) for decoder in DECODERS), ("pyav", True)]
)
def test_no_frame_of_1000_random_clips_differs_from_reading_from_the_start(
    all_shards: Path, tmp_path: Path, decoder: str, is_cached: bool
) -> None:
    """Videos of every data set, UCF101 and HMDB51 from AVI files among them."""
    cache = FrameCache(tmp_path, max_bytes=10**9) if is_cached else None
    clip_reader = ClipReader(decoder=decoder, cache=cache)
    videos = [video for name in DATASETS for video in _videos(all_shards, name)]
    whole = [_all_frames(tar, sample) for tar, sample in videos]
    rng, num_different = np.random.default_rng(0), 0
    for i in range(1000):
        (tar, sample), frame_NHWC = videos[i % len(videos)], whole[i % len(videos)]
        stride = int(rng.integers(1, 3)) if sample.num_frames > 30 else 1
        wanted = int(rng.integers(sample.num_frames - 15 * stride)) + stride * np.arange(16)
        found = clips.read_frames(tar, sample, wanted.tolist(), clip_reader=clip_reader)
        num_different += int((found != frame_NHWC[wanted]).any(axis=(1, 2, 3)).sum())
    assert num_different == 0


@pytest.fixture(scope="module")
def real_videos(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Sample]]:
    return shard_videos(real_clips(), tmp_path_factory.mktemp("real"), processes=1, progress=silent)


@pytest.mark.parametrize("decoder", DECODERS)
def test_random_clips_of_real_videos_are_those_of_reading_from_the_start(
    real_videos: list[tuple[Path, Sample]], decoder: str
) -> None:
    rng = np.random.default_rng(0)
    for tar, sample in real_videos:
        frame_NHWC = _all_frames(tar, sample)
        for stride in (1, 2, 3, 4) * 5:
            wanted = int(rng.integers(sample.num_frames - 15 * stride)) + stride * np.arange(16)
            found = decode_frames(tar, sample, wanted.tolist(), decoder=decoder)
            assert np.array_equal(found, frame_NHWC[wanted])
