"""Which packets of a stored video are read for some of its frames, and which damage is noticed."""

import gc
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import clips

from kdbatch.base.errors import UserError
from kdbatch.run.data.batches import StoredVideo
from kdbatch.run.data.decoding import excerpt
from kdbatch.run.data.decoding.decode import decode_frames
from kdbatch.run.data.decoding.excerpt import (
    DamagedVideoError,
    read_excerpt,
    read_range,
    select_packets,
)
from kdbatch.run.data.decoding.mini_mp4 import mini_mp4
from kdbatch.vocab.packet_index import Packet, pack_index, packet_flags


@pytest.fixture(scope="module")
def video(all_shards: Path) -> StoredVideo:
    return clips.videos_of(all_shards)[0]


def test_an_excerpt_has_no_frame_that_is_neither_wanted_nor_needed_by_others(
    video: StoredVideo,
) -> None:
    tar, sample = video.tar, video.sample
    index = read_range(tar, sample.index_bytes, sample.index_offset)
    rows = select_packets(index, range(sample.num_frames), num_frames=sample.num_frames)
    packets = [Packet(*row) for row in rows]
    needed = {packet.display_index for packet in packets if packet.is_needed_by_others}
    assert 0 < len(needed) < sample.num_frames
    for wanted in (range(18, 26, 2), [3], [33, 0], range(sample.num_frames)):
        display = read_excerpt(tar, sample, wanted).display
        assert set(wanted) <= set(display) <= set(wanted) | needed
    assert read_excerpt(tar, sample, [0]).display == [0]


@given(wanted=st.sets(st.integers(0, 39), min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_an_excerpt_can_be_decoded_and_no_wanted_frame_is_missing(
    video: StoredVideo, wanted: set[int]
) -> None:
    tar, sample = video.tar, video.sample
    excerpt = read_excerpt(tar, sample, sorted(wanted))
    assert wanted <= set(excerpt.display)
    assert len(set(excerpt.display)) == len(excerpt.display)
    with av.open(io.BytesIO(mini_mp4(excerpt)), "r") as container:
        shown = [frame.pts or 0 for frame in container.decode(video=0)]
    assert shown == sorted(shown) and len(shown) == len(excerpt.display)


@st.composite
def indexes(draw: st.DrawFn) -> list[Packet]:
    """Groups of any length, each a key frame and others in any order, needed by others or not."""
    packets: list[Packet] = []
    for size in draw(st.lists(st.integers(1, 9), min_size=1, max_size=6)):
        first = len(packets)
        displays = [first, *draw(st.permutations(range(first + 1, first + size)))]
        for i, display in enumerate(displays):
            flags = packet_flags(
                is_key=i == 0, nal_ref_idc=3 if i == 0 else draw(st.integers(0, 3))
            )
            packets.append(Packet(100 * len(packets), 50 + display, display, flags, 7))
    return packets


@given(indexes(), st.data())
def test_the_packets_chosen_are_those_that_the_frames_need_and_no_others(
    packets: list[Packet], data: st.DataObject
) -> None:
    """A frame needs itself and all packets before it in its group that others need. This is the
    definition, frame by frame.
    """
    wanted = data.draw(st.lists(st.integers(0, len(packets) - 1), min_size=1, max_size=8))
    needed: set[Packet] = set()
    for frame in wanted:
        own = next(i for i, packet in enumerate(packets) if packet.display_index == frame)
        start = max(i for i in range(own + 1) if packets[i].is_key)
        needed |= {
            packets[own],
            *(packet for packet in packets[start:own] if packet.is_needed_by_others),
        }
    found = select_packets(pack_index(packets), wanted, num_frames=len(packets))
    assert found == [packet for packet in packets if packet in needed]


@given(indexes(), st.data())
def test_an_index_with_any_byte_changed_or_lost_is_damaged(
    packets: list[Packet], data: st.DataObject
) -> None:
    raw = bytearray(pack_index(packets))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    for bad in (bytes(raw), pack_index(packets)[: data.draw(st.integers(0, len(raw) - 1))]):
        with pytest.raises(DamagedVideoError, match="its packet index is damaged"):
            select_packets(bad, [0], num_frames=len(packets))
    with pytest.raises(
        DamagedVideoError, match=f"it has {len(packets)} frames, not {len(packets) + 1}"
    ):
        select_packets(pack_index(packets), [0], num_frames=len(packets) + 1)


@given(data=st.data())
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_tar_with_a_lost_stretch_or_end_gives_right_frames_or_one_line(
    video: StoredVideo, tmp_path: Path, data: st.DataObject
) -> None:
    """The lost bytes are zeros, as on a disk, or changed, or missing. Frames that do not need them
    are read as before.
    """
    tar, sample = video.tar, video.sample
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


def test_a_tar_is_opened_once_and_few_stay_open(
    video: StoredVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tar, sample = video.tar, video.sample
    monkeypatch.setattr(excerpt, "_MAX_OPEN_TARS", 3)
    tars = [tmp_path / f"{i}.tar" for i in range(5)]
    for path in tars:
        path.write_bytes(tar.read_bytes())
    for path in (*tars, *tars, tars[-1], tars[-1]):
        read_excerpt(path, sample, [0])
        assert _times_open(path) == 1
    assert [_times_open(path) for path in tars] == [0, 0, 1, 1, 1]


def test_the_tars_of_a_thread_are_closed_with_it(video: StoredVideo, tmp_path: Path) -> None:
    tar, sample = video.tar, video.sample
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
    return sum(
        str(path) == str(link.readlink())
        for link in Path("/proc/self/fd").iterdir()
        if link.is_symlink()
    )


def test_a_mini_mp4_declares_one_key_frame_so_that_no_reader_seeks(video: StoredVideo) -> None:
    tar, sample = video.tar, video.sample
    excerpt = read_excerpt(tar, sample, [0, 20, 39])
    mp4 = mini_mp4(excerpt)
    with av.open(io.BytesIO(mp4), "r") as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
        assert (container.streams.video[0].width, container.streams.video[0].height) == (
            sample.width,
            sample.height,
        )
    assert packets == excerpt.packets
    offset = mp4.index(b"stss") + 8  # after kind, version and flags: the count, and the numbers
    assert mp4[offset : offset + 8] == bytes([0, 0, 0, 1, 0, 0, 0, 1])
