"""The four data sets of the study, as their owners publish them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A named collection of labelled videos.

    `part_of` maps each published split to the part in which its videos are stored. Splits that
    share videos (the three folds of UCF101 and HMDB51) share one part, so that a video is stored
    once.
    """

    name: str
    title: str
    num_classes: int
    part_of: dict[str, str]
    pretrain_split: str
    train_split: str
    test_split: str

    @property
    def parts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.part_of.values()))

    def first_split_of(self, part: str) -> str:
        """The first published split whose videos are stored in `part`."""
        return next(split for split, of_part in self.part_of.items() if of_part == part)


_FOLDS = {f"{name}{fold:02d}": "all" for fold in (1, 2, 3) for name in ("train", "test")}

DATASETS: dict[str, Dataset] = {
    "k400": Dataset(
        name="k400",
        title="Kinetics-400",
        num_classes=400,
        part_of={"train": "train", "val": "val"},
        pretrain_split="train",
        train_split="train",
        test_split="val",
    ),
    "ssv2": Dataset(
        name="ssv2",
        title="Something-Something V2",
        num_classes=174,
        part_of={"train": "train", "validation": "validation"},
        pretrain_split="train",
        train_split="train",
        test_split="validation",
    ),
    "ucf101": Dataset(
        name="ucf101",
        title="UCF101",
        num_classes=101,
        part_of=_FOLDS,
        pretrain_split="train01",
        train_split="train01",
        test_split="test01",
    ),
    "hmdb51": Dataset(
        name="hmdb51",
        title="HMDB51",
        num_classes=51,
        part_of=_FOLDS,
        pretrain_split="train01",
        train_split="train01",
        test_split="test01",
    ),
}
