import gc
import io
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import av
import clips_world as world
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from worlds import real_clips

from kdbatch.run.decode import DECODERS, decode_each, decode_frames
from kdbatch.run.decoders import excerpt
from kdbatch.run.decoders.excerpt import Damaged, read_excerpt, select_packets
from kdbatch.run.decoders.mini_mp4 import mini_mp4
from kdbatch.shard.loose import shard_loose
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.packets import Packet, pack_index, packet_flags
from kdbatch.vocab.progress import silent
from kdbatch.vocab.shards import Sample


@pytest.fixture(scope="module")
def shards_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    size = replace(world.SIZE, k400_train=1, min_frames=40, max_frames=50)
    return world.make_shards(tmp_path_factory.mktemp("decode"), size=size, names=tuple(DATASETS))


def _videos(shards_dir: Path, name: str) -> list[tuple[Path, Sample]]:
    return [(video.tar, video.sample) for video in world.videos_of(shards_dir, name)]


def _all_frames(tar: Path, sample: Sample) -> np.ndarray:
    """The stored file, decoded from its first frame to its last."""
    mp4 = tar.read_bytes()[sample.offset : sample.offset + sample.num_bytes]
    with av.open(io.BytesIO(mp4), "r") as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("decoder", DECODERS)
def test_frames_in_any_order_are_those_of_the_stored_file_read_from_its_start(shards_dir: Path, name: str, decoder: str) -> None:
    rng = np.random.default_rng(0)
    for tar, sample in _videos(shards_dir, name)[:2]:
        frame_NHWC = _all_frames(tar, sample)
        assert len(frame_NHWC) == sample.num_frames
        start = int(rng.integers(sample.num_frames - 16))
        random = rng.integers(0, sample.num_frames, 9).tolist()
        for wanted in (list(range(start, start + 16, 2)), list(range(start, start + 8)), random, [sample.num_frames - 1, 0, 0], [17]):
            found = decode_frames(tar, sample, wanted, decoder=decoder)
            assert found.dtype == np.uint8
            assert np.array_equal(found, frame_NHWC[wanted])


def test_a_clip_of_even_frames_reads_no_odd_frame_that_others_do_not_need(shards_dir: Path) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    assert read_excerpt(tar, sample, range(18, 26, 2)).display == [16, 18, 20, 22, 24]
    assert read_excerpt(tar, sample, [3]).display == [0, 2, 4, 3]
    assert read_excerpt(tar, sample, [33, 0]).display[:2] == [0, 32]


@given(wanted=st.sets(st.integers(0, 39), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_what_is_read_can_be_decoded_and_no_frame_is_missing(shards_dir: Path, wanted: set[int]) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    excerpt = read_excerpt(tar, sample, sorted(wanted))
    assert wanted <= set(excerpt.display)
    assert len(set(excerpt.display)) == len(excerpt.display)
    with av.open(io.BytesIO(mini_mp4(excerpt)), "r") as container:
        shown = [frame.pts for frame in container.decode(video=0)]
    assert shown == sorted(shown) and len(shown) == len(excerpt.display)


@st.composite
def indexes(draw: st.DrawFn) -> list[Packet]:
    """Groups of any length, each a key frame and others in any order, needed by others or not."""
    packets: list[Packet] = []
    for size in draw(st.lists(st.integers(1, 9), min_size=1, max_size=6)):
        first = len(packets)
        displays = [first, *draw(st.permutations(range(first + 1, first + size)))]
        for place, display in enumerate(displays):
            flags = packet_flags(is_key=place == 0, nal_ref_idc=3 if place == 0 else draw(st.integers(0, 3)))
            packets.append(Packet(100 * len(packets), 50 + display, display, flags, 7))
    return packets


@given(indexes(), st.data())
def test_the_packets_chosen_are_those_that_the_frames_need_and_no_others(packets: list[Packet], data: st.DataObject) -> None:
    """Of its group, a frame needs all before it that any other frame needs: written down frame by frame."""
    wanted = data.draw(st.lists(st.integers(0, len(packets) - 1), min_size=1, max_size=8))
    needed: set[Packet] = set()
    for frame in wanted:
        place = next(i for i, packet in enumerate(packets) if packet.display == frame)
        start = max(i for i in range(place + 1) if packets[i].is_key)
        needed |= {packets[place], *(packet for packet in packets[start:place] if packet.is_needed_by_others)}
    found = select_packets(pack_index(packets), wanted, num_frames=len(packets))
    assert found == [packet for packet in packets if packet in needed]


@given(indexes(), st.data())
def test_an_index_of_which_anything_is_changed_or_lost_is_damaged(packets: list[Packet], data: st.DataObject) -> None:
    raw = bytearray(pack_index(packets))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(raw), pack_index(packets)[: data.draw(st.integers(0, len(raw) - 1))]):
        with pytest.raises(Damaged, match="its packet index is damaged"):
            select_packets(bad, [0], num_frames=len(packets))
    with pytest.raises(Damaged, match=f"it has {len(packets)} frames, not {len(packets) + 1}"):
        select_packets(pack_index(packets), [0], num_frames=len(packets) + 1)


@given(data=st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_tar_with_a_lost_stretch_or_end_gives_right_frames_or_one_line(shards_dir: Path, tmp_path: Path, data: st.DataObject) -> None:
    """What is lost reads as zeros, as on a disk, or as something else, or is not there. Frames that do not need it are read as before."""
    tar, sample = _videos(shards_dir, "k400")[0]
    raw = bytearray(tar.read_bytes()[: sample.index_offset + sample.index_bytes])
    start = data.draw(st.integers(sample.offset, len(raw) - 512))
    how = data.draw(st.sampled_from(["zeros", "one bit", "end"]))
    if how == "zeros":
        raw[start : start + 512] = bytes(512)
    elif how == "one bit":
        raw[start] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del raw[start:]
    (tmp_path / "a.tar").write_bytes(raw)
    wanted = data.draw(st.lists(st.integers(0, sample.num_frames - 1), min_size=1, max_size=4))
    try:
        found = decode_frames(tmp_path / "a.tar", sample, wanted, decoder="pyav")
    except UserError as error:
        assert "a.tar" in str(error) and "\n" not in str(error)
    else:
        assert np.array_equal(found, decode_frames(tar, sample, wanted, decoder="pyav"))


def test_a_tar_is_opened_once_and_few_stay_open(shards_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    monkeypatch.setattr(excerpt, "_MAX_TARS", 3)
    tars = [tmp_path / f"{i}.tar" for i in range(5)]
    for path in tars:
        path.write_bytes(tar.read_bytes())
    for path in (*tars, *tars, tars[-1], tars[-1]):
        read_excerpt(path, sample, [0])
        assert _times_open(path) == 1
    assert [_times_open(path) for path in tars] == [0, 0, 1, 1, 1]


def test_the_tars_of_a_thread_are_closed_with_it(shards_dir: Path, tmp_path: Path) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    (tmp_path / "a.tar").write_bytes(tar.read_bytes())
    with ThreadPoolExecutor(1) as thread:
        assert np.array_equal(
            thread.submit(decode_frames, tmp_path / "a.tar", sample, [5], decoder="pyav").result(),
            decode_frames(tar, sample, [5], decoder="pyav"),
        )
        assert _times_open(tmp_path / "a.tar") == 1
    gc.collect()
    assert _times_open(tmp_path / "a.tar") == 0


def _times_open(path: Path) -> int:
    return sum(str(path) == str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink())


def test_a_mini_mp4_declares_one_key_frame_so_that_nobody_seeks(shards_dir: Path) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    excerpt = read_excerpt(tar, sample, [0, 20, 39])
    mp4 = mini_mp4(excerpt)
    with av.open(io.BytesIO(mp4), "r") as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        assert (container.streams.video[0].width, container.streams.video[0].height) == (sample.width, sample.height)
    assert packets == excerpt.packets
    place = mp4.index(b"stss") + 8  # after kind, version and flags: how many, and which
    assert mp4[place : place + 8] == bytes([0, 0, 0, 1, 0, 0, 0, 1])


@pytest.mark.parametrize("decoder", DECODERS)
def test_videos_of_many_sizes_in_turn_do_not_disturb_each_other(shards_dir: Path, decoder: str) -> None:
    videos = [_videos(shards_dir, name)[0] for name in DATASETS]
    whole = {sample.key: _all_frames(tar, sample) for tar, sample in videos}
    for turn in range(3):
        for tar, sample in videos:
            wanted = [turn, turn + 20, turn + 2]
            assert np.array_equal(decode_frames(tar, sample, wanted, decoder=decoder), whole[sample.key][wanted])


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_failure_leaves_the_decoder_fit_for_the_next_video(shards_dir: Path, tmp_path: Path, decoder: str) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    whole = _all_frames(tar, sample)
    raw = bytearray(tar.read_bytes())
    raw[sample.offset + 2000 : sample.offset + sample.num_bytes] = bytes(sample.num_bytes - 2000)
    (tmp_path / "a.tar").write_bytes(raw)
    with pytest.raises(UserError):
        decode_frames(tmp_path / "a.tar", sample, [0, 39], decoder=decoder)
    assert np.array_equal(decode_frames(tar, sample, [0, 39], decoder=decoder), whole[[0, 39]])


@pytest.mark.parametrize("decoder", DECODERS)
def test_every_frame_is_put_once_for_each_time_it_was_asked_for(shards_dir: Path, decoder: str) -> None:
    tar, sample = _videos(shards_dir, "ucf101")[0]
    places: list[int] = []
    decode_each(tar, sample, [7, 3, 7, 30], lambda place, frame_HWC: places.append(place), decoder=decoder)
    assert sorted(places) == [0, 1, 2, 3]


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_video_that_was_not_transcoded_is_read_whole(shards_dir: Path, tmp_path: Path, decoder: str) -> None:
    webm = next((shards_dir.parent / "toys" / "ssv2").rglob("*.webm"))
    with av.open(str(webm)) as container:
        frame_NHWC = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    num, height, width, _ = frame_NHWC.shape
    data = webm.read_bytes()
    (tmp_path / "a.tar").write_bytes(bytes(512) + data)
    kept = {"num_frames": num, "height": height, "width": width, "offset": 512, "num_bytes": len(data), "crc32": zlib.crc32(data)}
    sample = replace(_videos(shards_dir, "ssv2")[0][1], extradata="", index_bytes=0, **kept)
    found = decode_frames(tmp_path / "a.tar", sample, [5, 0, num - 1], decoder=decoder)
    assert np.abs(found.astype(int) - frame_NHWC[[5, 0, num - 1]]).max() <= 2  # the two libraries round colours differently
    with pytest.raises(UserError, match="its checksum is wrong"):
        decode_frames(tmp_path / "a.tar", replace(sample, crc32=1), [0], decoder=decoder)
    with pytest.raises(UserError, match=f"decord finds {num} frames, {num - 1} are there"):
        decode_frames(tmp_path / "a.tar", replace(sample, num_frames=num - 1), [0], decoder=decoder)
    with pytest.raises(UserError, match=f"its frames are {width}x{height}, not 8x{height}"):
        decode_frames(tmp_path / "a.tar", replace(sample, width=8), [0], decoder=decoder)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_range_is_read_without_the_rest_of_the_video(shards_dir: Path, tmp_path: Path, decoder: str) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    frame_NHWC = _all_frames(tar, sample)
    raw = bytearray(tar.read_bytes())
    raw[sample.offset : sample.offset + 1000] = bytes(1000)  # the container's head: no one needs it who has the index
    (tmp_path / "a.tar").write_bytes(raw)
    assert np.array_equal(decode_frames(tmp_path / "a.tar", sample, [20, 22], decoder=decoder), frame_NHWC[[20, 22]])


@pytest.mark.parametrize("decoder", DECODERS)
def test_damage_names_the_tar_and_the_key(shards_dir: Path, tmp_path: Path, decoder: str) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    raw = bytearray(tar.read_bytes())
    raw[sample.offset + 900 : sample.offset + sample.num_bytes] = bytes(sample.num_bytes - 900)
    (tmp_path / "a.tar").write_bytes(raw)
    with pytest.raises(UserError, match=f"a.tar: {sample.key} cannot be read"):
        decode_frames(tmp_path / "a.tar", sample, [0, 20], decoder=decoder)
    (tmp_path / "a.tar").write_bytes(raw[: sample.offset + 100])
    with pytest.raises(UserError, match=f"a.tar: {sample.key} cannot be read .the tar is cut short"):
        decode_frames(tmp_path / "a.tar", sample, [0], decoder=decoder)
    with pytest.raises(UserError, match=f"gone.tar: {sample.key} cannot be read"):
        decode_frames(tmp_path / "gone.tar", sample, [0], decoder=decoder)


def test_no_wanted_frame_gives_none_and_an_unknown_decoder_is_told(shards_dir: Path) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    assert decode_frames(tar, sample, [], decoder="pyav").shape == (0, sample.height, sample.width, 3)
    with pytest.raises(UserError, match="Did you mean 'pyav'"):
        decode_frames(tar, sample, [0], decoder="pyaf")


@pytest.fixture(scope="module")
def real_videos(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Sample]]:
    return shard_loose(real_clips(), tmp_path_factory.mktemp("real"), processes=1, progress=silent)


@pytest.mark.parametrize("decoder", DECODERS)
def test_random_clips_of_real_videos_are_those_of_reading_from_the_start(real_videos: list[tuple[Path, Sample]], decoder: str) -> None:
    rng = np.random.default_rng(0)
    for tar, sample in real_videos:
        frame_NHWC = _all_frames(tar, sample)
        for stride in (1, 2, 3, 4) * 5:
            wanted = int(rng.integers(sample.num_frames - 15 * stride)) + stride * np.arange(16)
            found = decode_frames(tar, sample, wanted.tolist(), decoder=decoder)
            assert np.array_equal(found, frame_NHWC[wanted])
