"""Videos that are too short for a task are found while planning."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config

FILES = [JOBS / "task_complexity.yaml"]
TOY_PRP_3 = 8 * 3 * 8  # frames of the toy profile's clip, their distance, the highest rate


@pytest.fixture
def lasting(sharded: Callable[..., Config], in_tmp: Path) -> Callable[..., Config]:
    """Indexes of videos that last as long as is said: the eleven lengths of each of K400's shards
    in turn, in frames of `fps`.
    """

    def write(*shards: list[int], fps: float = 25.0) -> Config:
        config = sharded(k400=1000 * len(shards), ucf101=13_320)
        path = in_tmp / "shards" / "k400" / "index.json"
        index = json.loads(path.read_text())
        for line, lengths in zip(index["parts"]["train"]["shards"], shards, strict=True):
            line["lengths_seconds"] = [length / fps for length in lengths]
        path.write_text(json.dumps(index))
        return config

    return write


def _plan(config: Config, profile: str = "toy"):
    return make_plan(FILES, profile=profile, config=config)


@pytest.mark.parametrize("fps", [25.0, 29.97, 12.0])
def test_videos_of_exactly_the_window_are_long_enough_and_one_frame_less_is_not(
    lasting, fps: float
) -> None:
    need = (
        TOY_PRP_3 / 25.0 * fps
    )  # frames of the stored rate that are 192 of the profile's 25 a second
    assert len(_plan(lasting([need] * 11, fps=fps)).runs) > 50
    with pytest.raises(UserError, match="needs 192 frames of each video, 7.7 s, and none of"):
        _plan(lasting([need - fps / 25.0] * 11, fps=fps))


def test_the_message_names_task_complexity_need_what_is_there_and_what_would_do(lasting) -> None:
    with pytest.raises(UserError) as caught:
        _plan(lasting(list(range(170, 192, 2))))
    says = str(caught.value)
    assert says.startswith(
        f"{FILES[0]}: T3.pretrain: PRP at complexity 3 needs 192 frames of each video, 7.7 s, and none of k400/train[:160]"
    )
    for words in (
        "170 to 190 frames, half of them below 180",
        "clip.num_frames (now 8) or clip.stride_frames (now 3)",
        "kdbatch plan",
    ):
        assert words in says
    assert "\n" not in says


def test_half_of_the_videos_is_enough_and_fewer_are_refused(lasting) -> None:
    assert _plan(lasting([100] * 5 + [192] * 6))
    with pytest.raises(UserError, match="about 45% of k400/train"):
        _plan(lasting([100] * 6 + [192] * 5))


def test_only_the_subsets_own_shards_count(lasting) -> None:
    short, long = [100] * 11, [250] * 11
    assert _plan(lasting(long, short, short, short))  # 160 videos lie in the first shard of 1000
    with pytest.raises(UserError, match="none of"):
        _plan(lasting(short, long, long, long))


def test_an_index_that_was_written_without_lengths_is_read_and_passes(
    lasting, in_tmp: Path
) -> None:
    config = lasting([100] * 11)
    path = in_tmp / "shards" / "k400" / "index.json"
    index = json.loads(path.read_text())
    for line in index["parts"]["train"]["shards"]:
        del line["lengths_seconds"]
    path.write_text(json.dumps(index))
    assert _plan(config)
