"""Plans of data sets that kdbatch.toml declares: by their folder, then by their index."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.toys import toys

from kdbatch.base.errors import UserError
from kdbatch.base.progress import silent
from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands
from kdbatch.plan.known_datasets import KnownDatasets
from kdbatch.plan.subsets import SubsetFinder
from kdbatch.shard.build import build_from_plan
from kdbatch.shard.datasets import describe_source
from kdbatch.shard.shard_plan import plan_shards
from kdbatch.shard.verify import verify_shards
from kdbatch.vocab.config import Config
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import load_samples
from kdbatch.vocab.sources.dataset_source import DatasetSource

__all__ = ["toys"]


@pytest.fixture
def config(toys: Path, in_tmp: Path) -> Config:
    """A study with the class folders of the toy UCF101 as a data set of its own."""
    source = DatasetSource(
        root=str(toys / "ucf101" / "UCF-101"),
        layout="folders",
        title="Gestures",
        shares={"train": 0.75, "test": 0.25},
        group="(v_.+_g[0-9]+)_c",
        fps=25.0,
    )
    return Config(datasets={"gestures": source})


def finder(config: Config) -> SubsetFinder:
    return SubsetFinder(datasets=KnownDatasets(config=config, list_videos=describe_source))


@pytest.fixture
def store(config: Config) -> Callable[..., None]:
    def store(split: str = "", subset: str = "all") -> None:
        request = ShardRequest(dataset="gestures", split=split, subset=subset, processes=1)
        source = config.datasets["gestures"]
        plan = plan_shards(
            request, root=Path(source.root), shards_dir=config.shards_dir, source=source
        )
        build_from_plan(plan, progress=silent)

    return store


def test_before_it_is_stored_a_plan_counts_what_the_folder_has(config: Config) -> None:
    subsets = finder(config)
    half = subsets.find("gestures", "train", "50%", where="test")
    whole = subsets.find("gestures", "train", "all", where="test")
    assert whole.digest == "" and subsets.count(half) == whole.num_places // 2 > 0
    assert subsets.rates_of(whole) == {25.0: whole.num_places}
    (missing,) = subsets.missing
    assert missing.request.command == "kdbatch shard gestures"
    subsets.find("gestures", "test", "all", where="test")
    assert subsets.missing[1].request.command == "kdbatch shard gestures --split test"


def test_what_is_stored_is_read_without_the_folder(
    config: Config, store: Callable[..., None]
) -> None:
    store()
    store("test", subset="1")
    gone = replace(config.datasets["gestures"], root="/nowhere")
    moved = replace(config, datasets={"gestures": gone})
    subsets = finder(moved)
    train = subsets.find("gestures", "train", "all", where="test")
    test = subsets.find("gestures", "test", "1", where="test")
    assert train.digest and test.digest and train.num_classes == test.num_classes > 1
    samples = [sample for _, sample in load_samples(config.shards_dir, train)]
    assert len(samples) == train.num_places == subsets.count(train)
    held = {sample.group for _, sample in load_samples(config.shards_dir, test)}
    assert held and held.isdisjoint(sample.group for sample in samples)
    index = load_index(config.shards_dir, "gestures")
    assert set(index.num_listed) == {"train", "test"} and set(index.parts) == {"train", "test"}
    num_verified = verify_shards("gestures", shards_dir=config.shards_dir, progress=silent)
    assert num_verified == sum(index.num_listed.values())


def test_an_unknown_name_is_told_with_the_way_to_declare_it(config: Config) -> None:
    with pytest.raises(UserError, match="Did you mean 'gestures'.*declared in kdbatch.toml"):
        finder(config).find("gesture", "train", "all", where="T1")


def test_videos_without_labels_are_no_target(
    in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train/a.mp4", "train/b.mp4"):
        path = in_tmp / "clips" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (in_tmp / "kdbatch.toml").write_text('[datasets.clips]\nlayout = "folders"\nroot = "clips"\n')
    (in_tmp / "own.yaml").write_text(
        "name: own\ntitle: Own\nvary: {network: [shufflenet_2x]}\n"
        "teachers:\n  T1:\n    title: T1\n    backbone: $network\n    target: clips\n"
        "    pretrain: {task: rotnet, dataset: clips, subset: all}\n"
        "student: {title: S, backbone: $network, target: clips, teachers: [T1]}\n"
    )
    assert dispatch(Commands(), ["plan", "own.yaml", "--profile", "micro"]) == 2
    assert "clips has no labels, so it cannot be a target" in capsys.readouterr().err


def test_a_dry_run_shows_title_classes_and_splits(
    config: Config, in_tmp: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = config.datasets["gestures"].root
    (in_tmp / "kdbatch.toml").write_text(
        f'[datasets.gestures]\nlayout = "folders"\nroot = "{root}"\ntitle = "Gestures"\n'
        "shares = {train = 0.75, test = 0.25}\n"
    )
    before = sorted(in_tmp.rglob("*"))
    assert dispatch(Commands(), ["shard", "gestures", "--dry-run"]) == 0
    assert "gestures: Gestures, 2 classes; videos: train " in capsys.readouterr().out
    assert sorted(in_tmp.rglob("*")) == before
