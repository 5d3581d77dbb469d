import itertools
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.toys import toy_request

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.shard.build import Built, build_from_plan
from kdbatch.shard.index import write_index
from kdbatch.shard.shard_plan import plan_shards
from kdbatch.vocab.shards.index import load_index, rate_text

ELEMENTS = ("0:1", "1:2", "2:3")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def _element(toys: Path, shards_dir: Path, shards: range, *, split: str = "train") -> Built:
    plan = plan_shards(
        toy_request(split=split, videos_per_shard=5), root=toys / "k400", shards_dir=shards_dir
    )
    return build_from_plan(plan, shards=shards, progress=silent)


@pytest.fixture(scope="module")
def whole(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files that a single builder makes of the 12 training videos."""
    shards_dir = tmp_path_factory.mktemp("whole")
    plan = plan_shards(toy_request(videos_per_shard=5), root=toys / "k400", shards_dir=shards_dir)
    build_from_plan(plan, progress=silent)
    return _files(shards_dir / "k400")


@pytest.mark.parametrize("order", list(itertools.permutations(range(3)))[1::2])
def test_elements_in_any_order_make_the_same_files_and_the_last_one_the_index(
    toys: Path, whole: dict[str, bytes], tmp_path: Path, order: tuple[int, ...]
) -> None:
    ended = [_element(toys, tmp_path, range(shard, shard + 1)).index for shard in order]
    assert [index is not None for index in ended] == [False, False, True]
    assert _files(tmp_path / "k400") == whole


def test_elements_that_run_twice_change_nothing(
    toys: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    for shard in (0, 1, 1, 2, 0):
        _element(toys, tmp_path, range(shard, shard + 1))
    assert _files(tmp_path / "k400") == whole


def test_elements_at_the_same_time_each_even_twice_make_the_same_files(
    toys: Path, whole: dict[str, bytes], tmp_path: Path
) -> None:
    arguments = [
        "shard",
        "k400",
        f"--root={toys / 'k400'}",
        "--videos-per-shard=5",
        "--processes=1",
    ]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "kdbatch", *arguments, f"--shards={e}"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            text=True,
        )
        for e in (*ELEMENTS, ELEMENTS[1])
    ]
    outputs = [process.communicate(timeout=60)[0] for process in started]
    assert [process.returncode for process in started] == [0] * 4
    assert any("12 videos in 3 tars" in text for text in outputs)
    assert _files(tmp_path / "shards" / "k400") == whole


def test_two_parts_that_were_planned_at_the_same_time_both_reach_the_index(
    toys: Path, tmp_path: Path
) -> None:
    train, val = (
        plan_shards(
            toy_request(split=split, videos_per_shard=5), root=toys / "k400", shards_dir=tmp_path
        )
        for split in ("train", "val")
    )
    build_from_plan(train, progress=silent)
    build_from_plan(val, progress=silent)
    assert list(load_index(tmp_path, "k400").parts) == ["train", "val"]


def test_the_index_waits_for_missing_shards(toys: Path, tmp_path: Path) -> None:
    _element(toys, tmp_path, range(0, 2))
    plan = plan_shards(toy_request(videos_per_shard=5), root=toys / "k400", shards_dir=tmp_path)
    assert write_index(plan) is None
    assert not (tmp_path / "k400" / "index.json").exists()


def test_a_damaged_list_of_rejected_videos_is_an_error(toys: Path, tmp_path: Path) -> None:
    _element(toys, tmp_path, range(0, 1), split="val")
    (tmp_path / "k400" / "rejected.parquet").write_text("not parquet")
    with pytest.raises(UserError, match=r"rejected.parquet: is damaged .*Delete it and repeat"):
        _element(toys, tmp_path, range(0, 3))
    (tmp_path / "k400" / "rejected.parquet").unlink()
    assert _element(toys, tmp_path, range(0, 3)).index is not None
    assert pq.read_table(tmp_path / "k400" / "rejected.parquet").num_rows == 0


def test_an_entry_of_the_index_has_eleven_lengths_from_the_shortest_to_the_longest(
    toys: Path, tmp_path: Path
) -> None:
    plan = plan_shards(toy_request(videos_per_shard=5), root=toys / "k400", shards_dir=tmp_path)
    index = build_from_plan(plan, progress=silent).index
    assert index is not None and index == load_index(tmp_path, "k400")
    shards = index.parts["train"].shards
    assert len(shards) == 3
    for number, shard in enumerate(shards):
        record = plan.finished_record(number)
        assert record is not None
        seconds = sorted(sample.num_frames / sample.fps for sample in record.samples)
        lengths = shard.lengths_seconds
        assert (
            len(lengths) == 11 and list(lengths) == sorted(lengths) and set(lengths) <= set(seconds)
        )
        assert (lengths[0], lengths[-1]) == (seconds[0], seconds[-1]) and lengths[5] == seconds[
            (len(seconds) - 1) // 2
        ]


def test_an_entry_of_the_index_has_the_numbers_of_videos_by_their_rates(
    toys: Path, tmp_path: Path
) -> None:
    indexes = {}
    for name in ("k400", "ssv2"):
        request = toy_request(dataset=name, videos_per_shard=5)
        plan = plan_shards(request, root=toys / name, shards_dir=tmp_path)
        built = build_from_plan(plan, progress=silent).index
        assert built is not None
        indexes[name] = built.parts["train"].shards
    assert all(shard.rates == {"25": shard.num_videos} for shard in indexes["k400"])
    assert all(shard.rates == {"12": shard.num_videos} for shard in indexes["ssv2"])


@pytest.mark.parametrize(
    ("fps", "text"), [(25.0, "25"), (30_000 / 1001, "29.97"), (24_000 / 1001, "23.976")]
)
def test_rates_are_named_by_five_digits(fps: float, text: str) -> None:
    assert rate_text(fps) == text
