import itertools
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.toys import toy_request

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.shard.build import build_from_plan
from kdbatch.shard.shard_plan import ShardPlan, plan_shards
from kdbatch.shard.shard_ranges import parse_shard_range, split_into_ranges


def _plan(toys: Path, shards_dir: Path, **options) -> ShardPlan:
    request = toy_request(**{"videos_per_shard": 5, **options})
    return plan_shards(request, root=toys / "k400", shards_dir=shards_dir)


@given(st.sets(st.integers(0, 60), min_size=1).map(sorted), st.integers(1, 20))
def test_ranges_hold_every_missing_shard_once_and_about_equally_many(
    missing: list[int], num_ranges: int
) -> None:
    ranges = split_into_ranges(missing, num_ranges)
    held = [[shard for shard in missing if shard in group] for group in ranges]
    assert [shard for group in held for shard in group] == missing
    assert len(ranges) == min(num_ranges, len(missing))
    assert max(map(len, held)) - min(map(len, held)) <= 1
    assert all(a.stop <= b.start for a, b in itertools.pairwise(ranges))


@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 7))
def test_subsets_are_prefixes_cut_into_shards_without_gaps(
    toys: Path, small: int, large: int, videos_per_shard: int
) -> None:
    small, large = sorted((small, large))
    plans = [
        plan_shards(
            toy_request(subset=str(n), videos_per_shard=videos_per_shard),
            root=toys / "k400",
            shards_dir=toys / "none",
        )
        for n in (small, large)
    ]
    places = [
        [position for shard in range(plan.num_shards) for position in plan.positions_of(shard)]
        for plan in plans
    ]
    assert places[1][: len(places[0])] == places[0] == list(range(plans[0].num_positions))
    assert small <= plans[0].num_positions < small + videos_per_shard
    assert [source.key for source in plans[0].order] == [source.key for source in plans[1].order]


def test_planning_writes_nothing(toys: Path, tmp_path: Path) -> None:
    assert _plan(toys, tmp_path / "shards").missing_shards() == (0, 1, 2)
    assert not (tmp_path / "shards").exists()


def test_a_class_folder_whose_name_is_not_utf8_is_refused_before_anything_is_stored(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "train" / os.fsdecode(b"caf\xe9")
    folder.mkdir(parents=True)
    (folder / "abcdefghijk_000001_000011.mp4").touch()
    with pytest.raises(
        UserError, match=re.escape(r"the name of the class 'caf\udce9' is not valid UTF-8")
    ):
        plan_shards(toy_request(), root=tmp_path, shards_dir=tmp_path / "shards")


@pytest.mark.parametrize("name", ["two\tcells", "red \x1b[31m", "x" * 201])
def test_a_class_whose_name_is_no_short_line_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "train.csv").write_text(
        f'label,youtube_id,time_start,time_end,split\n"{name}",abcdefghijk,1,11,train\n'
    )
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "abcdefghijk_000001_000011.mp4").touch()
    with pytest.raises(UserError, match="the name of a class: found .*one line of at most 200"):
        plan_shards(toy_request(), root=tmp_path, shards_dir=tmp_path / "shards")


def test_the_command_to_go_on_repeats_the_request(toys: Path, tmp_path: Path) -> None:
    shutil.copytree(toys / "k400", tmp_path / "my videos")
    options: dict[str, Any] = {
        "split": "val",
        "subset": "50%",
        "videos_per_shard": 2,
        "max_rejected": 0.5,
        "transcode": False,
    }
    request = toy_request(**options)
    plan = plan_shards(request, root=tmp_path / "my videos", shards_dir=tmp_path / "shards")
    (plan.folder / "val-00000.tar").mkdir(parents=True)  # a folder, where the file should be
    flags = "--split val --subset 50% --videos-per-shard 2 --max-rejected 0.5 --no-transcode"
    flags += " --processes 1"
    with pytest.raises(
        UserError,
        match=re.escape(f"go on with: kdbatch shard k400 {flags} --root '{tmp_path}/my videos'")
        + "$",
    ):
        build_from_plan(plan, progress=silent)


def test_finished_shards_are_not_missing(toys: Path, tmp_path: Path) -> None:
    plan = _plan(toys, tmp_path)
    build_from_plan(plan, shards=range(1, 2), progress=silent)
    assert plan.missing_shards() == (0, 2)


def test_lists_that_were_corrected_since_are_an_error(toys: Path, tmp_path: Path) -> None:
    shutil.copytree(toys / "ucf101", tmp_path / "ucf101")
    plan = partial(
        plan_shards, toy_request("ucf101"), root=tmp_path / "ucf101", shards_dir=tmp_path / "shards"
    )
    build_from_plan(plan(), progress=silent)
    assert plan().missing_shards() == ()
    train, test = (
        tmp_path / "ucf101" / "ucfTrainTestlist" / f"{name}list02.txt" for name in ("train", "test")
    )
    first, *rest = train.read_text().splitlines(keepends=True)
    train.write_text("".join(rest))
    test.write_text(test.read_text() + first)
    with pytest.raises(
        UserError,
        match="the lists in .*ucf101 changed since: .*other splits"
        ".*rm -r .*ucf101 && kdbatch shard ucf101",
    ):
        plan().missing_shards()


@pytest.mark.parametrize("change", [{"label": 1}, {"splits": ()}, {"group": "other"}])
def test_a_stored_label_split_or_group_that_the_lists_contradict_is_an_error(
    toys: Path, tmp_path: Path, change: dict[str, Any]
) -> None:
    plan = _plan(toys, tmp_path, subset="5")
    build_from_plan(plan, progress=silent)
    position = next(i for i, source in enumerate(plan.order) if source.label == 0)
    order = [
        replace(source, **change) if i == position else source
        for i, source in enumerate(plan.order)
    ]
    with pytest.raises(
        UserError,
        match=f"lists in .* changed since: {order[position].key} was stored with another label",
    ):
        replace(plan, order=order).missing_shards()


@pytest.mark.parametrize("text", ["", "3", "3:3", "2:1", "0:4", "-1:2", "a:b", "0:1:2", "1: 2"])
def test_an_invalid_range_of_shards_is_refused(text: str) -> None:
    with pytest.raises(
        UserError, match=re.escape(f"--shards: found {text!r}. Write FIRST:END, at most 0:3")
    ):
        parse_shard_range(text, 3)


def test_a_range_of_shards_is_parsed() -> None:
    assert parse_shard_range("0:3", 3) == range(0, 3)


def test_a_login_node_plans_without_the_workers_packages() -> None:
    blocked = ["av", "torch", "decord", "webdataset"]
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
    code += "import kdbatch.cli.shard, kdbatch.shard.index"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
