import dataclasses
import tomllib
from pathlib import Path

import av
import numpy as np
import pytest

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.shard.toy.encode import CODECS
from kdbatch.shard.toy.scene import APPEARANCES, MOTIONS, Scene, draw_frames
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.config import load_config
from kdbatch.vocab.datasets import DATASETS


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_equal_seeds_give_equal_bytes_and_two_processes_change_nothing(
    toys: Path, tiny: ToySize, tmp_path: Path
) -> None:
    write_toy(tmp_path / "again", processes=2, progress=silent, size=tiny)
    assert _files(tmp_path / "again") == _files(toys)


def test_data_sets_that_are_added_later_have_the_bytes_of_one_call(
    toys: Path, tiny: ToySize, tmp_path: Path
) -> None:
    folder = tmp_path / "later"
    write_toy(folder, processes=1, progress=silent, size=tiny, datasets=["k400", "ucf101"])
    assert (folder / "k400").is_dir() and not (folder / "ssv2").exists()
    write_toy(folder, processes=1, progress=silent, size=tiny)
    assert _files(folder) == _files(toys)


def test_a_second_call_does_nothing_and_a_lost_video_is_made_again_with_equal_bytes(
    tiny: ToySize, tmp_path: Path
) -> None:
    small = dataclasses.replace(tiny, k400_train=1, k400_val=0, ssv2_train=1, ssv2_validation=0)
    made: list[str] = []
    write_toy(tmp_path / "t", processes=1, progress=silent, size=small)
    before = _files(tmp_path / "t")
    write_toy(
        tmp_path / "t",
        processes=1,
        progress=lambda done, total, note: made.append(note),
        size=small,
    )
    assert made == []
    lost = next((tmp_path / "t" / "ssv2").rglob("*.webm"))
    lost.unlink()
    marker = tmp_path / "t" / "toy.json"
    write_json(marker, load_json(marker) | {"finished": False})
    write_toy(
        tmp_path / "t",
        processes=1,
        progress=lambda done, total, note: made.append(note),
        size=small,
    )
    assert made == [str(lost.relative_to(tmp_path / "t"))]
    assert _files(tmp_path / "t") == before


def test_the_four_codecs_are_those_of_the_published_videos(toys: Path) -> None:
    found = {}
    for dataset in CODECS:
        path = next(
            p for p in sorted((toys / dataset).rglob("*")) if p.suffix in (".mp4", ".webm", ".avi")
        )
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            found[dataset] = (path.suffix, stream.codec_context.name, stream.average_rate)
    assert found == {
        "k400": (".mp4", "h264", 25),
        "ssv2": (".webm", "vp9", 12),
        "ucf101": (".avi", "mpeg4", 25),
        "hmdb51": (".avi", "mpeg4", 25),
    }


def test_the_written_configuration_names_every_data_set(
    toys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(toys)
    assert {name: place.root for name, place in load_config().datasets.items()} == {
        name: name for name in DATASETS
    }
    assert tomllib.loads((toys / "kdbatch.toml").read_text())


def test_a_folder_with_other_videos_or_of_another_seed_is_left_alone(
    toys: Path, tiny: ToySize, tmp_path: Path
) -> None:
    (tmp_path / "k400").mkdir()
    with pytest.raises(UserError, match="holds k400, which is not toy videos"):
        write_toy(tmp_path, processes=1, progress=silent, size=tiny)
    with pytest.raises(UserError, match="another seed or size"):
        write_toy(toys, seed=1, processes=1, progress=silent, size=tiny)


def test_a_video_of_another_rate_shows_the_same_motion_in_as_many_seconds() -> None:
    usual = _video("ball", "circling", 3, num_frames=26)
    slower = _video("ball", "circling", 3, num_frames=6, fps=5)
    # the light's slow drift runs over the whole video, in a share of its frames
    assert np.abs(slower - usual[::5]).max() <= 3


def _video(appearance: str, motion: str, moment: int, **fields: int) -> np.ndarray:
    scene = Scene(
        appearance=appearance,
        motion=motion,
        style="dark",
        group_seed=moment,
        video_seed=moment,
        width=88,
        height=66,
        **{"num_frames": 25, **fields},
    )
    return np.stack(list(draw_frames(scene))).astype(float)


@pytest.mark.parametrize("motion", MOTIONS)
def test_the_top_is_lighter_than_the_ground_and_every_frame_differs_from_the_last(
    motion: str,
) -> None:
    videos = [
        _video(appearance, motion, moment) for appearance in APPEARANCES for moment in range(2)
    ]
    for frame_THW3 in videos:
        assert frame_THW3[:, :16].mean() > frame_THW3[:, -16:].mean() + 20
        assert np.abs(np.diff(frame_THW3, axis=0)).max(axis=(1, 2, 3)).min() > 50


def test_appearances_have_different_colours() -> None:
    hue = {name: look.hue for name, look in APPEARANCES.items()}
    assert min(abs(a - b) for x, a in hue.items() for y, b in hue.items() if x != y) > 0.1


def test_bouncing_objects_fall_faster_than_they_rise() -> None:
    height_T = np.array([MOTIONS["bouncing"](t / 100, 1).y for t in range(101)])
    speed_T = np.diff(height_T)
    assert speed_T.max() > 2 * -speed_T.min()  # y grows downwards
