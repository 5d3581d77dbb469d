"""Videos of an overlap list are left out of pretraining."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from support.toys import toy_request, toys

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.cli.planning.plan_text import left_out_of
from kdbatch.plan.known_datasets import KnownDatasets
from kdbatch.plan.resolve import make_plan
from kdbatch.plan.subsets import SubsetFinder
from kdbatch.shard.build import build_shards
from kdbatch.vocab.config import Config, Paths
from kdbatch.vocab.leaks.overlap_list import (
    ListedPair,
    OverlapList,
    load_overlap_list,
    save_overlap_list,
    stored_part,
)
from kdbatch.vocab.recipes.recipe import subsets_of
from kdbatch.vocab.shards.index import Sample, load_index
from kdbatch.vocab.shards.subset import Subset, load_samples

__all__ = ["toys"]

EXPERIMENT = """\
name: leaks
title: Leaks
vary:
  lists:
    with_all: {left_out: []}
    without_copies: {left_out: [copies.csv]}
teachers:
  T1:
    title: T1
    backbone: r21d_10
    pretrain: {task: rotnet, dataset: k400, subset: SIZE, without: $left_out}
    target: ucf101
student: {title: Student, backbone: r21d_10, target: ucf101, teachers: [T1]}
tables:
  - {id: accuracy, title: Accuracy, rows: [T1, student], columns: [lists]}
"""
PROFILE = """\
seeds: [0]
clip: {num_frames: 8, stride_frames: 1, fps: 25.0, size_pixels: 32}
pretrain: {epochs: 1, batch_clips: 2}
finetune: {epochs: 1, batch_clips: 2, lr: 0.1}
distill: {epochs: 1, batch_clips: 2, lr: 0.1}
"""


@pytest.fixture(scope="module")
def shards_dir(toys: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listed")
    for dataset in ("k400", "ucf101"):
        request = toy_request(dataset, videos_per_shard=5)
        build_shards(request, root=toys / dataset, shards_dir=folder, progress=silent)
    return folder


@pytest.fixture
def config(shards_dir: Path, in_tmp: Path) -> Config:
    return Config(paths=Paths(shards=str(shards_dir), runs=str(in_tmp / "runs")))


def stored(config: Config) -> list[Sample]:
    subset = SubsetFinder(datasets=KnownDatasets(config=config)).find(
        "k400", "train", "all", where="test"
    )
    return [sample for _, sample in load_samples(config.shards_dir, subset)]


def listed(config: Config, places: tuple[int, ...], *, num_places: int = 12) -> OverlapList:
    """A list that names the videos at these places."""
    keys = {sample.place: sample.key for sample in stored(config)}
    k400, ucf101 = (load_index(config.shards_dir, name) for name in ("k400", "ucf101"))
    return OverlapList(
        first="k400",
        second="ucf101",
        made_from=(
            stored_part(k400, "train", num_places),
            stored_part(ucf101, "all", ucf101.parts["all"].num_places),
        ),
        pairs=tuple(
            ListedPair(
                video=f"k400/train/{keys[place]}",
                place=place,
                same_as="ucf101/all/v_ball_g01_c01",
                splits="train01 test02",
                frames=4,
                of=5,
                equal_bits=0.914,
                begins_seconds=-1.2,
                how="whole = middle 90 %",
            )
            for place in places
        ),
    )


def subset_of(config: Config, size: str = "all") -> Subset:
    finder = SubsetFinder(datasets=KnownDatasets(config=config))
    subset = finder.find("k400", "train", size, where="test")
    return finder.leave_out(subset, ("copies.csv",), where="T1.pretrain.without")


def plan_of(size: str, *, profile: str = PROFILE, config: Config):
    jobs = Path("jobs")
    (jobs / "profiles").mkdir(parents=True, exist_ok=True)
    (jobs / "leaks.yaml").write_text(EXPERIMENT.replace("SIZE", size))
    (jobs / "profiles" / "test.yaml").write_text(profile)
    return make_plan([jobs / "leaks.yaml"], profile="test", config=config)


def test_a_run_does_not_read_the_videos_of_a_list(config: Config) -> None:
    save_overlap_list(Path("copies.csv"), listed(config, (7, 2)))
    subset = subset_of(config)
    samples = stored(config)
    left_out = {sample.key for sample in samples if sample.place in (2, 7)}
    assert subset.without == tuple(sorted(left_out)) and len(left_out) == 2
    read = [sample.key for _, sample in load_samples(config.shards_dir, subset)]
    assert read == [sample.key for sample in samples if sample.key not in left_out]
    assert SubsetFinder(datasets=KnownDatasets(config=config)).count(subset) == len(read) == 10


def test_the_id_of_a_run_changes_only_where_a_video_of_its_own_is_left_out(config: Config) -> None:
    """A subset of 4 has the places 0 to 3."""
    for places, is_other in (((7, 9), False), ((2, 7), True)):
        save_overlap_list(Path("copies.csv"), listed(config, places))
        runs = [r.run for r in plan_of("4", config=config).runs if r.run.recipe.kind == "pretrain"]
        assert len(runs) == (2 if is_other else 1)
    with_all, without = runs
    (of_all,), (of_some,) = (subsets_of(run.recipe) for run in (with_all, without))
    assert of_all.without == () and len(of_some.without) == 1


def test_a_profile_leaves_out_for_all_experiments_and_the_plan_says_how_many(
    config: Config,
) -> None:
    save_overlap_list(Path("copies.csv"), listed(config, (2, 7)))
    profile = PROFILE + "without: {k400: [copies.csv]}\n"
    plan = plan_of("12", profile=profile, config=config)
    (pretrain,) = [r for r in plan.runs if r.run.recipe.kind == "pretrain"]
    assert len(subsets_of(pretrain.run.recipe)[0].without) == 2
    assert left_out_of(plan) == [("k400/train[:12]", 12, 2)]


def test_the_plan_of_videos_that_are_not_stored_asks_for_no_list(in_tmp: Path) -> None:
    plan = plan_of("12", config=Config(paths=Paths(shards="none")))
    assert plan.missing
    (warning,) = plan.warnings
    assert warning.startswith(
        "copies.csv is not read before k400 is stored: runs, videos and hours"
    )


def test_the_plan_of_stored_videos_has_read_its_lists(config: Config) -> None:
    save_overlap_list(Path("copies.csv"), listed(config, (2, 7)))
    assert plan_of("12", config=config).warnings == ()


def edited(change: Callable[[str], str]) -> None:
    path = Path("copies.csv")
    path.write_text(change(path.read_text()))


def test_a_line_may_be_deleted_and_a_spreadsheet_may_save_the_list(config: Config) -> None:
    save_overlap_list(Path("copies.csv"), listed(config, (2, 7)))
    both = subset_of(config).without
    edited(lambda text: "".join(line for line in text.splitlines(True) if ",7," not in line))
    assert len(subset_of(config).without) == 1
    save_overlap_list(Path("copies.csv"), listed(config, (2, 7)))
    edited(lambda text: "\ufeff" + re.sub("^(#.*)$", r'"\1",,,', text, flags=re.M))
    edited(lambda text: text.replace("\n", "\r\n"))
    assert subset_of(config).without == both


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace(",2,", ",3,"), "at place 3, where .* is stored. Lines may be"),
        (lambda text: text.replace(",2,", ",999,"), "at place 999, where no video is stored"),
        (lambda text: text.replace(",2,", ",-1,"), "is no overlap list: found the line"),
        (lambda text: text.replace(",2,", ",two,"), "no overlap list: found the line"),
        (lambda text: text.replace("place,", "where,"), "its columns are not video,place"),
        (lambda text: text.replace("# made", "# Made"), "does not say which shards"),
        (lambda text: text + '"', "no overlap list: unexpected end of data"),
        (lambda text: text + "\0\n", "has NUL bytes"),
        (lambda text: "", "does not say which shards"),
        (
            lambda text: re.sub("(k400/train: 12.*)[0-9a-f]", r"\g<1>x", text),
            "does not say which shards",
        ),
    ],
)
def test_a_changed_list_is_refused(
    config: Config, change: Callable[[str], str], message: str
) -> None:
    save_overlap_list(Path("copies.csv"), listed(config, (2,)))
    edited(change)
    with pytest.raises(UserError, match=rf"^T1\.pretrain\.without: .*copies\.csv.*{message}"):
        subset_of(config)


def test_a_list_of_other_shards_is_refused_with_the_command_that_makes_it(config: Config) -> None:
    made = listed(config, (2,))
    k400, ucf101 = made.made_from
    cases = {
        "was made from other shards of k400/train": (
            dataclasses.replace(k400, digest="0" * 16),
            ucf101,
        ),
        "was made from other shards of ucf101/all": (
            k400,
            dataclasses.replace(ucf101, digest="0" * 16),
        ),
        "was made before k400/train was stored": (
            dataclasses.replace(k400, part="val"),
            ucf101,
        ),
        "was made from the first 5 videos of k400/train, and this needs 12": (
            stored_part(load_index(config.shards_dir, "k400"), "train", 5),
            ucf101,
        ),
    }
    for message, parts in cases.items():
        save_overlap_list(Path("copies.csv"), dataclasses.replace(made, made_from=parts))
        with pytest.raises(UserError, match=message) as caught:
            subset_of(config)
        assert "kdbatch shard overlap k400 ucf101 --to copies.csv" in str(caught.value)
    assert len(subset_of(config, "4").without) == 1  # which the list of the first 5 covers


def test_a_list_that_is_missing_or_of_another_data_set_is_told(config: Config) -> None:
    with pytest.raises(
        UserError, match=r"there is no copies\.csv\. .*shard overlap k400 ucf101 --to copies\.csv"
    ):
        subset_of(config)
    found = dataclasses.replace(listed(config, (2,)), pairs=())
    turned = dataclasses.replace(found, made_from=found.made_from[::-1])
    save_overlap_list(Path("copies.csv"), turned)
    with pytest.raises(UserError, match="lists videos of ucf101, and these are of k400"):
        subset_of(config)


def test_a_list_is_read_as_it_was_written(config: Config) -> None:
    made = listed(config, (2, 7))
    save_overlap_list(Path("copies.csv"), made)
    assert load_overlap_list(Path("copies.csv"), first="k400", where="test") == made
