"""Plans of videos that are not stored: by published sizes, with every command that is missing."""

import dataclasses
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan, require_shards
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.sources.dataset_source import DatasetSource

FILES = sorted(JOBS.glob("*.yaml"))
ROOTS = {name: DatasetSource(root=f"/data/{name}") for name in DATASETS}


def _plan(config: Config, *, profile: str = "paper") -> Plan:
    return make_plan(FILES, profile=profile, config=config)


def _commands(plan: Plan) -> dict[str, str]:
    return {each.request.dataset: each.request.command for each in plan.missing}


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=lambda dataset: dataset.name)
def test_every_split_and_part_has_its_published_size(dataset) -> None:
    assert set(dataset.num_videos) == {*dataset.part_of, *dataset.parts}
    assert all(dataset.num_videos.values()) and dataset.seconds_per_video > 0
    for split, part in dataset.part_of.items():
        assert dataset.num_videos[split] <= dataset.num_videos[part]


@pytest.mark.parametrize("profile", ["paper", "h200", "toy", "micro"])
def test_the_whole_study_is_planned_in_an_empty_folder(in_tmp: Path, profile: str) -> None:
    plan = _plan(Config(), profile=profile)
    assert plan.runs and all(item.provisional for item in plan.runs)
    assert all(item.cost.device_hours > 0 and item.cost.read_bytes > 0 for item in plan.runs)
    assert list(in_tmp.iterdir()) == []


def test_all_missing_commands_are_named_at_once_with_the_largest_subset(in_tmp: Path) -> None:
    assert _commands(_plan(Config(datasets=ROOTS))) == {
        "k400": "kdbatch shard k400 --subset 100k",
        "ssv2": "kdbatch shard ssv2 --subset 30k",
        "ucf101": "kdbatch shard ucf101",
        "hmdb51": "kdbatch shard hmdb51",
    }
    without_root = _commands(_plan(Config()))
    assert without_root["k400"] == "kdbatch shard k400 --subset 100k --root FOLDER"


def test_a_provisional_plan_has_the_runs_of_the_final_one(sharded, in_tmp: Path) -> None:
    before = _plan(Config())
    config = sharded(k400=246_245, ssv2=168_913, ucf101=13_320, hmdb51=6766)
    after = _plan(config)
    assert [item.title for item in before.runs] == [item.title for item in after.runs]
    assert not {item.run.id for item in before.runs} & {item.run.id for item in after.runs}
    assert not after.missing and not any(item.provisional for item in after.runs)
    pretrained = [
        (a.cost.device_hours, b.cost.device_hours)
        for a, b in zip(before.runs, after.runs, strict=True)
        if a.run.recipe.kind == "pretrain"
    ]
    assert pretrained and all(a == pytest.approx(b) for a, b in pretrained)


def test_runs_whose_videos_are_all_stored_keep_their_ids_in_a_provisional_plan(
    sharded, in_tmp: Path
) -> None:
    config = sharded(k400=240_000, ucf101=13_320)
    partly = make_plan([JOBS / "subset_size.yaml"], profile="paper", config=config)
    config = sharded(hmdb51=6766)
    whole = make_plan([JOBS / "subset_size.yaml"], profile="paper", config=config)
    final = {item.run.id for item in whole.runs}
    for item in partly.runs:
        assert item.provisional == ("hmdb51" in item.title), item.title
        assert item.provisional != (item.run.id in final)


def test_too_few_stored_videos_are_completed_as_the_stored_ones_were_made(sharded) -> None:
    config = dataclasses.replace(sharded(k400=240_000, ucf101=13_320, hmdb51=6766), datasets=ROOTS)
    path = Path("shards/k400/index.json")
    index = load_json(path)
    index["parts"]["train"] |= {
        "num_places": 30_000,
        "shards": index["parts"]["train"]["shards"][:30],
    }
    write_json(path, index)
    plan = make_plan([JOBS / "subset_size.yaml"], profile="paper", config=config)
    (missing,) = plan.missing
    assert (missing.num_needed, missing.num_stored) == (100_000, 30_000)
    expected = "kdbatch shard k400 --subset 100k --videos-per-shard 1000"
    assert missing.request.command == expected
    with pytest.raises(UserError, match=r"70,000 of 100,000 videos of k400/train") as caught:
        require_shards(plan, slurm=False)
    assert str(caught.value).splitlines()[1:] == [f"  {expected}"]


def test_a_folder_that_had_too_few_videos_is_named(sharded) -> None:
    config = sharded(k400=16, ucf101=13_320, hmdb51=6766)
    plan = make_plan([JOBS / "subset_size.yaml"], profile="paper", config=config)
    with pytest.raises(
        UserError, match=r"no more in the folder of k400 \(16 videos\) when .* --profile"
    ):
        require_shards(plan, slurm=False)


def test_a_split_beside_the_stored_one_is_missing_alone(sharded, in_tmp: Path) -> None:
    sharded(ssv2=168_913)
    (in_tmp / "jobs" / "profiles").mkdir(parents=True)
    profile = (JOBS / "profiles" / "paper.yaml").read_text()
    profile = profile.replace("selection:\n  ucf101:", "selection:\n  ssv2:")
    (in_tmp / "jobs" / "profiles" / "paper.yaml").write_text(profile)
    text = (JOBS / "subset_size.yaml").read_text()
    text = text.replace("target: [ucf101, hmdb51]", "target: [ssv2]").replace("ucf101", "ssv2")
    path = in_tmp / "jobs" / "subset_size.yaml"
    path.write_text(text.replace("dataset: k400", "dataset: ssv2"))
    plan = make_plan([path], profile="paper", config=Config(datasets=ROOTS))
    (missing,) = plan.missing
    expected = "kdbatch shard ssv2 --split validation --videos-per-shard 1000"
    assert missing.request.command == expected


def test_a_mistake_in_a_file_is_found_without_shards(in_tmp: Path) -> None:
    (in_tmp / "jobs" / "profiles").mkdir(parents=True)
    text = (JOBS / "profiles" / "paper.yaml").read_text()
    (in_tmp / "jobs" / "profiles" / "paper.yaml").write_text(text)
    path = in_tmp / "jobs" / "subset_size.yaml"
    for old, new, message in (
        ("dataset: k400", "dataset: k40", "no 'k40'. Did you mean 'k400'"),
        ("100k", "300k", "300k videos asked for, but there are only 246245"),
        ("100k", "many", "'many' is no"),
        ("dataset: k400", "dataset: ucf101", "is used whole; found subset 10k"),
    ):
        path.write_text((JOBS / "subset_size.yaml").read_text().replace(old, new))
        with pytest.raises(UserError, match=message):
            make_plan([path], profile="paper", config=Config())


def test_a_damaged_index_is_an_error_and_not_a_missing_one(sharded, in_tmp: Path) -> None:
    config = sharded(k400=240_000)
    Path("shards/k400/index.json").write_text("{")
    with pytest.raises(UserError, match=r"k400/index.json"):
        _plan(config)
