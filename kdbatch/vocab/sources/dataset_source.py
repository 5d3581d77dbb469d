"""`[datasets.NAME]` of kdbatch.toml: where the videos of a data set are, and how they lie there."""

import re
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Literal

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.reading.field_facts import Limits, OneLine, SameAs, Share, check_limits
from kdbatch.base.reading.shown_values import shown
from kdbatch.vocab.datasets import DATASETS, Dataset
from kdbatch.vocab.views import View

NAME = re.compile("[a-z][a-z0-9_]*")
"""Names of data sets and splits, which become those of folders and files."""


@dataclass(frozen=True, kw_only=True)
class TableColumns:
    """Names of the columns of a table of videos."""

    path: str = "path"
    """Path of the video below `root`."""
    label: str = "label"
    """Class, a name or a number; videos without labels have no such column."""
    split: str = "split"
    """Split; a table without this column is split by `shares`."""
    group: str = "group"
    """Group; a table without this column has those of the field `group`."""


@dataclass(frozen=True, kw_only=True)
class DatasetSource:
    """A data set: k400, ssv2, ucf101, hmdb51, or one of your own, which needs a `layout`."""

    root: str
    """Folder of the videos."""
    layout: Literal["published", "folders", "table"] = "published"
    """How the videos lie in it: as the owner of one of the four publishes them; in class folders,
    folders/CLASS/VIDEO or SPLIT/CLASS/VIDEO; or as a table lists them.
    """
    title: OneLine = ""
    """Title in the report, and where `shard --dry-run` and `plan --power` print one; without it the
    name.
    """
    table: str = ""
    """File with a line for each video, .csv, .tsv or .parquet, relative to that of kdbatch.toml."""
    columns: TableColumns = TableColumns()
    """Columns of the table."""
    shares: dict[str, Annotated[Share, Limits("share", above=0, most=1)]] = field(
        default_factory=dict
    )
    """Splits to draw, with their shares, as in {train = 0.8, test = 0.2}, where folders or table
    have none. Groups are never parted, and each class is divided as evenly as they allow.
    """
    seed: Annotated[int, Limits("seed", least=0, most=2**32 - 1)] = 0
    """Seed of that draw."""
    group: str = ""
    """Regular expression that is searched in the path below `root`: videos with an equal group
    named group, or else first group, are one group, such as clips of one film.
    """
    train_split: OneLine = "train"
    """Split that networks are trained on."""
    test_split: OneLine = ""
    """Split that they are tested on; without it test, val or validation, the first that is there.
    """
    pretrain_split: OneLine = ""
    """Split for pretraining without labels; without it that of training, or else the first."""
    fps: Annotated[float | None, SameAs(View, "fps")] = None
    """Frames per second of all videos, if they have one rate: plans count with it until the videos
    are stored.
    """
    seconds_per_video: Annotated[float, Limits("seconds", least=0.1, most=100_000)] = 10.0
    """Mean length of a video, for the same purpose."""

    def __post_init__(self) -> None:
        check_limits(self)
        used = [f.name for f in fields(self) if getattr(self, f.name) not in (f.default, {})]
        for name in used:
            layouts = _LAYOUTS_OF.get(name, ("folders", "table"))
            if self.layout not in layouts:
                needed = " or ".join(f'"{layout}"' for layout in layouts)
                raise UserError(
                    f'{name}: belongs to layout = {needed}, and this is "{self.layout}". Leave it '
                    "out, or change the layout."
                )
        if self.layout == "table" and not self.table:
            raise UserError('table: is missing. Write table = "FILE.csv", .tsv or .parquet.')
        if self.shares and abs(sum(self.shares.values()) - 1) > 1e-6:
            raise UserError(
                f"shares: found {shown(self.shares)}, whose sum is {sum(self.shares.values()):g}. "
                "Write shares with the sum 1."
            )
        for name in self.shares:
            check_name(name, where=f"shares.{name}", what="a split")
        if self.group:
            group_pattern(self.group)

    def described(
        self,
        name: str,
        *,
        num_classes: int,
        num_videos: Mapping[str, int],
        videos_per_group: float = 1.0,
    ) -> Dataset:
        """The data set that was found there, with the number of videos of each split."""
        usual = (split for split in ("test", "val", "validation") if split in num_videos)
        train = self.train_split if self.train_split in num_videos else next(iter(num_videos))
        return Dataset(
            name=name,
            title=self.title or name,
            num_classes=num_classes,
            part_of={split: split for split in num_videos},
            num_videos=dict(num_videos),
            seconds_per_video=self.seconds_per_video,
            pretrain_split=self.pretrain_split or train,
            train_split=self.train_split,
            test_split=self.test_split or next(usual, "test"),
            videos_per_group=videos_per_group,
            fps=self.fps,
        )


_LAYOUTS_OF: dict[str, tuple[str, ...]] = {
    "root": ("published", "folders", "table"),
    "layout": ("folders", "table"),
    "table": ("table",),
    "columns": ("table",),
}


def check_source(name: str, source: DatasetSource, *, where: str) -> None:
    """Raise a UserError unless the entry fits its name: one of the four has no layout of its own,
    and any other has one.
    """
    if name in DATASETS and source.layout != "published":
        raise UserError(
            f"{where}.layout: {name} is the name of a published data set, and is read as its owner "
            "publishes it. Leave layout out, or choose another name."
        )
    if name not in DATASETS and source.layout == "published":
        raise UserError(
            f"{where}: there is no published data set {name!r}.{did_you_mean(name, DATASETS)} "
            f'Published: {", ".join(DATASETS)}. One of your own needs layout = "folders" or '
            '"table".'
        )
    check_name(name, where=where, what="a data set")


def unknown_dataset(name: str, known: Collection[str], *, where: str) -> UserError:
    """The error for a data set that is neither published nor in kdbatch.toml."""
    return UserError(
        f"{where}: no {shown(name)}.{did_you_mean(name, known)} Known: {', '.join(known)}. "
        "One of your own is declared in kdbatch.toml, under [datasets.NAME] with root and layout."
    )


def check_name(name: str, *, where: str, what: str) -> None:
    """Raise a UserError unless the name of a split or data set can be that of a folder."""
    if not NAME.fullmatch(name) or len(name) > 40:
        raise UserError(
            f"{where}: {shown(name)} is no name of {what}. Write lower-case letters, digits and "
            "underscores, a letter first, at most 40 in all."
        )


def group_pattern(pattern: str) -> re.Pattern[str]:
    """Return the pattern, compiled.

    Raises:
        UserError: it is no regular expression, or has no group.
    """
    try:
        with warnings.catch_warnings():  # of what a later Python may read otherwise
            warnings.simplefilter("ignore", FutureWarning)
            compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise UserError(
            f"group: {shown(pattern)} is no regular expression ({error}). Write it in single "
            "quotes, as '^(.+)_clip[0-9]+[.]'."
        ) from error
    if not compiled.groups:
        raise UserError(
            f"group: {shown(pattern)} has no group. Put brackets around the part that clips of "
            "one source have in common, as in '^(.+)_clip[0-9]+[.]'."
        )
    return compiled
