from dataclasses import replace

import pytest

from kdbatch.base.errors import UserError
from kdbatch.base.reading.video_counts import parse_video_count
from kdbatch.vocab.shards.index import ORIGINALS, load_index
from kdbatch.vocab.shards.subset import find_subset


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("50k", 50_000),
        ("2000", 2000),
        ("2_000", 2000),
        ("10%", 20_000),
        ("all", 200_000),
        ("0.5k", 500),
    ],
)
def test_sizes_of_subsets(text: str, count: int) -> None:
    assert parse_video_count(text, 200_000, where="x") == count


def test_every_whole_percentage_of_any_total_is_exact_and_rounded_down() -> None:
    for total in range(1, 1001):
        assert parse_video_count("100%", total, where="x") == total
    counts = [parse_video_count(f"{percent}%", 300, where="x") for percent in range(1, 101)]
    assert counts == list(range(3, 301, 3))
    assert parse_video_count("2.5%", 100, where="x") == 2


@pytest.mark.parametrize(
    "text",
    ["", "0", "-5", "k", "nan", "inf", "1e400", "ten", "50kk", "2.5", "50.000", "0%", "1.2345k"],
)
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="x: .*(is not a valid subset|only)"):
        parse_video_count(text, 200_000, where="x")


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match="50k videos asked for, but there are only 100"):
        parse_video_count("50k", 100, where="x")


def test_a_subset_keeps_its_digest_when_a_larger_one_is_sharded(sharded, in_tmp) -> None:
    shards = in_tmp / "shards"
    sharded(k400=10_000)
    small = find_subset(load_index(shards, "k400"), "train", "5k", where="x")
    sharded(k400=20_000)
    assert find_subset(load_index(shards, "k400"), "train", "5k", where="x") == small
    assert find_subset(load_index(shards, "k400"), "train", "6k", where="x").digest != small.digest


def test_missing_shards_name_the_command(sharded, in_tmp) -> None:
    with pytest.raises(UserError, match="k400 has no shards under .*Make them: kdbatch shard k400"):
        load_index(in_tmp / "shards", "k400")
    with pytest.raises(UserError, match="k40 has no shards under .*Did you mean 'k400'"):
        load_index(in_tmp / "shards", "k40")
    sharded(k400=10_000)
    with pytest.raises(UserError, match="50k videos asked for, but there are only 10000"):
        find_subset(load_index(in_tmp / "shards", "k400"), "train", "50k", where="x")


def test_the_command_that_adds_videos_names_the_split_and_the_encoding_of_the_others(
    sharded, in_tmp
) -> None:
    sharded(k400=10_000)
    index = load_index(in_tmp / "shards", "k400")
    val = replace(index.parts["train"], num_places=1000)
    index = replace(index, parts={"val": val}, encoding=ORIGINALS)
    arguments = "--split val --subset 2000 --videos-per-shard 1000 --no-transcode"
    message = (
        f"2000 videos asked for, 1000 sharded so far. Add them: kdbatch shard k400 {arguments}$"
    )
    with pytest.raises(UserError, match=message):
        find_subset(index, "val", "2k", where="x")
