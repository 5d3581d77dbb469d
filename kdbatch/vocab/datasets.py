"""Data sets: what a plan knows of one, and the four that their owners publish."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from kdbatch.base.reading.field_facts import Count, Limits, SameAs
from kdbatch.vocab.views import View


@dataclass(frozen=True, kw_only=True)
class GroupedVideos:
    """The test videos of a run: how many, in how many groups of one scene or film.

    They are `counted` in the shards, or else the published ones.
    """

    dataset: str
    title: str = ""
    split: str
    num_videos: Count
    num_groups: Annotated[float, Limits("groups", least=1, most=10**9)]
    counted: bool = False


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A named collection of videos.

    `part_of` maps each split to the part in which its videos are stored. Splits that
    share videos (the three folds of UCF101 and HMDB51) share one part, so that a video is stored
    once.

    `num_classes` is 0 where videos have no labels. `num_videos` has the number of videos of every
    split and of every part, as published or as the folder lists them; `seconds_per_video` is their
    mean length, `videos_per_group` how many show one scene or film, `fps` the rate that all of them
    have, if they have one. A plan counts with these until the videos are stored.
    """

    name: str
    title: str
    num_classes: Annotated[int, Limits("classes", least=0, most=1_000_000)]
    part_of: dict[str, str]
    num_videos: dict[str, Count]
    seconds_per_video: Annotated[float, Limits("seconds", least=0.1, most=100_000)]
    pretrain_split: str
    train_split: str
    test_split: str
    videos_per_group: Annotated[float, Limits("videos", least=1, most=1_000_000)] = 1.0
    fps: Annotated[float | None, SameAs(View, "fps")] = None

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.part_of.values()))

    def shares_part(self, split: str) -> bool:
        """Whether another split's videos are stored in the same part; it is then used whole."""
        return shares_part(self.part_of, split)

    @property
    def num_folds(self) -> int:
        """The number of published pairs of training and test split."""
        folds = range(1, len(self.part_of) + 1)
        return len({self.split_of_fold(self.train_split, fold) for fold in folds})

    def split_of_fold(self, split: str, fold: int) -> str:
        """The split of another fold: `test02` for `test01` and 2, itself where there is none."""
        other = f"{split[:-2]}{fold:02d}"
        return other if other in self.part_of else split

    def fold_of(self, split: str) -> int:
        """The fold of a split; 1 where a data set has one alone."""
        return int(split[-2:]) if self.num_folds > 1 else 1

    def first_split_of(self, part: str) -> str:
        """The first split whose videos are stored in `part`."""
        return first_split_of(self.part_of, part)


def shares_part(part_of: Mapping[str, str], split: str) -> bool:
    """Whether another split has the part of this one."""
    return list(part_of.values()).count(part_of[split]) > 1


def first_split_of(part_of: Mapping[str, str], part: str) -> str:
    """The first split that is stored in `part`."""
    return next(split for split, of_part in part_of.items() if of_part == part)


_TRAIN, _TEST = (tuple(f"{use}{fold:02d}" for fold in (1, 2, 3)) for use in ("train", "test"))
_FOLDS = {split: "all" for fold in zip(_TRAIN, _TEST, strict=True) for split in fold}

DATASETS: dict[str, Dataset] = {
    "k400": Dataset(
        name="k400",
        title="Kinetics-400",
        num_classes=400,
        part_of={"train": "train", "val": "val"},
        # Carreira et al. 2018, arXiv:1808.01340, Table 1. Owners have fewer: videos disappear.
        num_videos={"train": 246_245, "val": 20_000},
        seconds_per_video=10.0,
        pretrain_split="train",
        train_split="train",
        test_split="val",
    ),
    "ssv2": Dataset(
        name="ssv2",
        title="Something-Something V2",
        num_classes=174,
        part_of={"train": "train", "validation": "validation"},
        # Mahdisoltani et al. 2018, arXiv:1804.09235; the length is that of Goyal et al. 2017,
        # arXiv:1706.04261.
        num_videos={"train": 168_913, "validation": 24_777},
        seconds_per_video=4.0,
        pretrain_split="train",
        train_split="train",
        test_split="validation",
        fps=12.0,
    ),
    "ucf101": Dataset(
        name="ucf101",
        title="UCF101",
        num_classes=101,
        part_of=_FOLDS,
        # Soomro et al. 2012, arXiv:1212.0402, and the lists of its three folds.
        num_videos={
            "all": 13_320,
            "train01": 9_537,
            "test01": 3_783,
            "train02": 9_586,
            "test02": 3_734,
            "train03": 9_624,
            "test03": 3_696,
        },
        seconds_per_video=7.2,
        pretrain_split="train01",
        train_split="train01",
        test_split="test01",
        videos_per_group=13_320 / (101 * 25),
        fps=25.0,
    ),
    "hmdb51": Dataset(
        name="hmdb51",
        title="HMDB51",
        num_classes=51,
        part_of=_FOLDS,
        # Kuehne et al. 2011: 70 training and 30 test videos of each class and fold; the others of
        # a fold are in neither. The length is about 95 frames at 30 per second.
        num_videos={"all": 6_766, **dict.fromkeys(_TRAIN, 3_570), **dict.fromkeys(_TEST, 1_530)},
        seconds_per_video=3.2,
        pretrain_split="train01",
        train_split="train01",
        test_split="test01",
        videos_per_group=2.5,  # assumed: its owners do not say
        fps=30.0,
    ),
}
