"""The folds of UCF101 and HMDB51: stored once, planned from the splits that each of them has."""

from collections import Counter
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.plan.resolve import make_plan
from kdbatch.shard.build import build_shards
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.retrieve import Retrieve
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import find_subset, load_samples

FOLDS = "folds: {ucf101: [1, 2, 3]}\n"


def plan_of(folder: Path, config: Config, added: str) -> Plan:
    (folder / "jobs" / "profiles").mkdir(parents=True, exist_ok=True)
    for name in ("subset_size.yaml", "profiles/paper.yaml"):
        (folder / "jobs" / name).write_text((JOBS / name).read_text())
    profile = folder / "jobs" / "profiles" / "paper.yaml"
    profile.write_text(profile.read_text().replace("seeds: [0, 1, 2]\n", f"seeds: [0]\n{added}"))
    return make_plan([folder / "jobs" / "subset_size.yaml"], profile="paper", config=config)


@pytest.fixture
def config(sharded) -> Config:
    return sharded(k400=240_000, ucf101=13_320, hmdb51=6766)


def test_each_fold_has_its_own_networks_of_one_pretraining(config: Config, in_tmp: Path) -> None:
    plan = plan_of(in_tmp, config, FOLDS)
    runs = {item.run.id: item.run for item in plan.runs}
    (record,) = plan.records
    assert record.axes.keys() == {"target", "subset"}  # a fold is no axis
    case = {"target": "ucf101", "subset": "10k"}
    cells = {(c.role, c.fold): runs[c.run_id] for c in record.cells if c.case == case}
    for role in ("T1", "student", "labels_only", "T1.linear", "T1.retrieval", "T1_longer"):
        recipes = {fold: cells[role, fold].recipe for fold in (1, 2, 3)}
        for fold, recipe in recipes.items():
            assert isinstance(recipe, Finetune | Distill | Retrieve)
            assert recipe.data.split == f"train{fold:02d}"
            assert recipe.evaluation.test.split == f"test{fold:02d}"
    assert len({cells["T1", fold].parents for fold in (1, 2, 3)}) == 1
    for fold in (1, 2, 3):
        assert cells["student", fold].parents == (cells["T1", fold].id, cells["T2", fold].id)
    assert {c.fold for c in record.cells if c.case["target"] == "hmdb51"} == {1}
    assert {c.fold for c in record.cells if c.role.startswith("map:")} == {1}
    assert len({item.title for item in plan.runs}) == len(plan.runs)
    titles = {item.title for item in plan.runs}
    assert "train ShuffleNet on ucf101 from labels only, fold 3, seed 0" in titles


def test_folds_add_runs_and_change_none(config: Config, in_tmp: Path) -> None:
    one, explicit, three = (
        {item.run.id: item.run.recipe.kind for item in plan_of(in_tmp, config, added).runs}
        for added in ("", "folds: {ucf101: [1]}\n", FOLDS)
    )
    assert one == explicit and one.items() < three.items()
    added = Counter(three.values()) - Counter(one.values())
    assert set(added) == {"finetune", "distill", "retrieve"}  # no pretraining, and no map


def test_a_map_is_of_the_first_fold_that_is_run(config: Config, in_tmp: Path) -> None:
    plan = plan_of(in_tmp, config, "folds: {ucf101: [3, 2]}\n")
    maps = [item.run.recipe for item in plan.runs if isinstance(item.run.recipe, Compare)]
    assert {recipe.data.split for recipe in maps} == {"test03"}
    splits = {c.fold for c in plan.records[0].cells if c.case["target"] == "ucf101"}
    assert splits == {2, 3}


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("{ucf101: [4]}", r"folds.ucf101: found \[4\]. Write one or more of 1, 2, 3, each once"),
        ("{ucf101: [1, 1]}", r"folds.ucf101: found \[1, 1\]"),
        ("{ucf101: []}", r"folds.ucf101: found \[\]"),
        ("{ssv2: [2]}", r"folds.ssv2: found \[2\]. Write one or more of 1, each once"),
        ("{ucf: [1]}", "folds: no 'ucf'. Did you mean 'ucf101'"),
    ],
)
def test_a_fold_that_is_none_is_refused(
    config: Config, in_tmp: Path, folds: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        plan_of(in_tmp, config, f"folds: {folds}\n")


def test_a_fold_has_the_split_of_its_number() -> None:
    ucf101, k400 = DATASETS["ucf101"], DATASETS["k400"]
    assert (ucf101.num_folds, k400.num_folds) == (3, 1)
    assert ucf101.split_of_fold("test01", 3) == "test03" and ucf101.fold_of("train02") == 2
    assert k400.split_of_fold("train", 2) == "train" and k400.fold_of("train") == 1


@pytest.mark.parametrize("dataset", ["ucf101", "hmdb51"])
def test_videos_of_three_folds_are_stored_once_and_each_fold_is_found(
    tmp_path: Path, dataset: str
) -> None:
    size = ToySize(
        ucf101_clips_per_group=1, num_motions=1, min_frames=12, max_frames=14, extra_frames=0
    )
    write_toy(tmp_path / "toys", datasets=(dataset,), processes=1, progress=silent, size=size)
    build_shards(
        ShardRequest(dataset=dataset, videos_per_shard=20, processes=1),
        root=tmp_path / "toys" / dataset,
        shards_dir=tmp_path / "shards",
        progress=silent,
    )
    index = load_index(tmp_path / "shards", dataset)
    (part,) = index.parts.values()
    stored, tested = set[str](), Counter[str]()
    for fold in (1, 2, 3):
        keys = {}
        for use in ("train", "test"):
            split = f"{use}{fold:02d}"
            subset = find_subset(index, split, "all", where="here")
            samples = [s for _, s in load_samples(tmp_path / "shards", subset)]
            assert len(samples) == part.num_in_split[split] > 0
            keys[use] = {sample.key for sample in samples}
        assert not keys["train"] & keys["test"]
        stored |= keys["train"] | keys["test"]
        tested.update(keys["test"])
    assert len(stored) == part.num_places == sum(shard.num_videos for shard in part.shards)
    if dataset == "ucf101":  # every video is tested in one fold
        assert set(tested) == stored and set(tested.values()) == {1}
