"""Videos that are too short for a pretext task are reported when planning."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config

FILES = [JOBS / "task_complexity.yaml"]
TOY_PRP_3 = 8 * 3 * 8  # the toy profile's frames of a clip, their stride, the highest rate


@pytest.fixture
def with_lengths(sharded: Callable[..., Config], in_tmp: Path) -> Callable[..., Config]:
    """Writes an index of K400 whose shards have these lengths, eleven each, in frames of `fps`."""

    def write(*shards: list[int], fps: float = 25.0) -> Config:
        config = sharded(k400=1000 * len(shards), ucf101=13_320)
        path = in_tmp / "shards" / "k400" / "index.json"
        index = load_json(path)
        for line, lengths in zip(index["parts"]["train"]["shards"], shards, strict=True):
            line["lengths_seconds"] = [length / fps for length in lengths]
        write_json(path, index)
        return config

    return write


def _plan(config: Config, profile: str = "toy"):
    return make_plan(FILES, profile=profile, config=config)


@pytest.mark.parametrize("fps", [25.0, 29.97, 12.0])
def test_videos_of_exactly_the_window_are_long_enough_and_one_frame_less_is_not(
    with_lengths, fps: float
) -> None:
    need = TOY_PRP_3 / 25.0 * fps  # stored frames that last as long as 192 at the profile's 25 fps
    assert len(_plan(with_lengths([need] * 11, fps=fps)).runs) > 50
    with pytest.raises(UserError, match="needs 192 frames of each video, 7.7 s, and none of"):
        _plan(with_lengths([need - fps / 25.0] * 11, fps=fps))


def test_the_message_names_the_task_the_needed_and_found_lengths_and_what_to_change(
    with_lengths,
) -> None:
    with pytest.raises(UserError) as caught:
        _plan(with_lengths(list(range(170, 192, 2))))
    message = str(caught.value)
    assert message.startswith(
        f"{FILES[0]}: T3.pretrain: PRP at complexity 3 needs 192 frames of each video, 7.7 s, "
        "and none of k400/train[:160]"
    )
    assert "170 to 190 frames, half of them below 180" in message
    assert "clip.num_frames (now 8) or clip.stride_frames (now 3)" in message
    assert message.endswith("Then repeat the command.")
    assert "\n" not in message


def test_half_of_the_videos_are_enough_and_fewer_are_refused(with_lengths) -> None:
    assert _plan(with_lengths([100] * 5 + [192] * 6))
    with pytest.raises(UserError, match="about 45% of k400/train"):
        _plan(with_lengths([100] * 6 + [192] * 5))


def test_only_the_subsets_own_shards_count(with_lengths) -> None:
    short, long = [100] * 11, [250] * 11
    assert _plan(
        with_lengths(long, short, short, short)
    )  # 160 videos lie in the first shard of 1000
    with pytest.raises(UserError, match="none of"):
        _plan(with_lengths(short, long, long, long))


def test_an_index_without_lengths_is_read_and_passes(with_lengths, in_tmp: Path) -> None:
    config = with_lengths([100] * 11)
    path = in_tmp / "shards" / "k400" / "index.json"
    index = load_json(path)
    for line in index["parts"]["train"]["shards"]:
        del line["lengths_seconds"]
    write_json(path, index)
    assert _plan(config)
