import json
from pathlib import Path

import av
import numpy as np
from support.videos import rotate_video, write_video

from kdbatch.base.progress import silent
from kdbatch.bench.data.fidelity import Fidelity, fidelity_lines, measure_fidelity
from kdbatch.bench.data.loose_videos import find_videos_below, shard_videos


def _fidelity(paths: list[Path], folder: Path) -> list[Fidelity]:
    stored = shard_videos(paths, folder, processes=1, progress=silent)
    return [
        measure_fidelity(path, tar, sample)
        for path, (tar, sample) in zip(paths, stored, strict=True)
    ]


def _grey(path: Path, *, noise: int) -> Path:
    """Pictures of one grey, or of so much noise on it, which no encoder keeps."""
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 128, "yuv420p"
        for _ in range(20):
            picture_HW3 = np.full((128, 160, 3), 128, np.uint8)
            picture_HW3 += rng.integers(0, noise + 1, (128, 160, 1), dtype=np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture_HW3, format="rgb24")))
        out.mux(stream.encode(None))
    return path


def test_what_is_flat_is_kept_and_noise_is_lost(tmp_path: Path) -> None:
    flat, noisy = _fidelity(
        [_grey(tmp_path / "a.mkv", noise=0), _grey(tmp_path / "b.mkv", noise=60)], tmp_path / "out"
    )
    assert flat.luma_db > 50 and flat.rgb_db > 50
    assert 20 < noisy.luma_db < 40 and abs(noisy.rgb_db - noisy.luma_db) < 6
    assert flat.num_frames == noisy.num_frames == 20


def test_a_lying_video_is_compared_with_what_is_stored_upright(tmp_path: Path) -> None:
    upright = write_video(tmp_path / "a.mp4", width=160, height=128)
    lying = rotate_video(upright, tmp_path / "b.mp4")
    first, second = _fidelity([upright, lying], tmp_path / "out")
    assert abs(first.luma_db - second.luma_db) < 2 and second.luma_db > 30


def test_bytes_are_those_of_the_video_in_the_tar_per_byte_of_the_original(
    toys: Path, tmp_path: Path
) -> None:
    path = find_videos_below(toys / "hmdb51")[0]
    ((tar, sample),) = shard_videos([path], tmp_path, processes=1, progress=silent)
    found = measure_fidelity(path, tar, sample)
    assert found.share == sample.num_bytes / path.stat().st_size
    assert json.dumps(vars(found))


def test_the_table_ends_with_the_means() -> None:
    found = [
        Fidelity(name=name, num_frames=10, share=share, rgb_db=db, luma_db=40)
        for name, share, db in (("a", 0.5, 34), ("b", 0.3, 37))
    ]
    assert fidelity_lines(found)[-1].split() == ["mean", "0.40", "35.5", "dB", "40.0", "dB"]
