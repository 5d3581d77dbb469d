import io
from pathlib import Path

import av
import numpy as np
import pytest

from kdbatch.run.decode import DECODERS, decode_frames, select_packets
from kdbatch.shard.build import build_shards
from kdbatch.shard.toy import ToySize, write_toy
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.packets import unpack_index
from kdbatch.vocab.progress import silent
from kdbatch.vocab.shards import Sample, find_subset, load_index, load_samples

SIZE = ToySize(
    k400_train=1,
    k400_val=0,
    ssv2_train=1,
    ucf101_clips_per_group=1,
    hmdb51_train=1,
    hmdb51_unused=0,
    num_motions=1,
    min_frames=40,
    max_frames=50,
)


@pytest.fixture(scope="module")
def shards_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decode")
    write_toy(folder / "toys", processes=1, progress=silent, size=SIZE)
    for name in DATASETS:
        build_shards(name, root=folder / "toys" / name, shards_dir=folder / "shards", processes=1, progress=silent)
    return folder / "shards"


def _videos(shards_dir: Path, name: str) -> list[tuple[Path, Sample]]:
    index = load_index(shards_dir, name)
    return list(load_samples(shards_dir, find_subset(index, DATASETS[name].train_split, "all", where="here")))


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
    with tar.open("rb") as file:
        file.seek(sample.index_offset)
        packets = unpack_index(file.read(sample.index_bytes))
    assert [packet.display for packet in select_packets(packets, range(18, 26, 2))] == [16, 18, 20, 22, 24]
    assert [packet.display for packet in select_packets(packets, [3])] == [0, 2, 4, 3]
    assert [packet.display for packet in select_packets(packets, [0, 33])][:2] == [0, 32]


def test_a_range_is_read_without_the_rest_of_the_video(shards_dir: Path, tmp_path: Path) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    frame_NHWC = _all_frames(tar, sample)
    raw = bytearray(tar.read_bytes())
    raw[sample.offset : sample.offset + 1000] = bytes(1000)  # the container's head: no one needs it who has the index
    (tmp_path / "a.tar").write_bytes(raw)
    assert np.array_equal(decode_frames(tmp_path / "a.tar", sample, [20, 22], decoder="pyav"), frame_NHWC[[20, 22]])


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


def test_a_damaged_index_is_noticed(shards_dir: Path, tmp_path: Path) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    raw = bytearray(tar.read_bytes())
    raw[sample.index_offset + 11 * 5 + 8] ^= 0xFF
    (tmp_path / "a.tar").write_bytes(raw)
    with pytest.raises(UserError, match="its packet index is damaged"):
        decode_frames(tmp_path / "a.tar", sample, [0], decoder="pyav")


def test_no_wanted_frame_gives_none_and_an_unknown_decoder_is_told(shards_dir: Path) -> None:
    tar, sample = _videos(shards_dir, "k400")[0]
    assert decode_frames(tar, sample, [], decoder="pyav").shape == (0, sample.height, sample.width, 3)
    with pytest.raises(UserError, match="Did you mean 'pyav'"):
        decode_frames(tar, sample, [0], decoder="pyaf")
