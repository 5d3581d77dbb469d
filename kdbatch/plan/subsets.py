"""The subsets that a plan needs: as they are stored, or else by their published sizes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from kdbatch.base.folders.presence import is_present
from kdbatch.base.lookup import lookup
from kdbatch.base.study_folder import find_study
from kdbatch.base.text import plural
from kdbatch.plan.known_datasets import KnownDatasets
from kdbatch.plan.leaks.listed_videos import without_listed
from kdbatch.vocab.datasets import Dataset
from kdbatch.vocab.plans.plan import MissingShards
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import Part, Shard, ShardIndex, load_indexed_record, rate_text
from kdbatch.vocab.shards.subset import (
    Subset,
    find_subset,
    request_like,
    requested_places,
    shards_of,
)

# Bytes of a second of stored video, 128 pixels on the short side: about the mean of three real
# clips, of Kinetics-400 (46 kB), HMDB51 (33 kB) and UCF101 (16 kB).
BYTES_PER_SECOND = 30_000.0
# `--root` of a command that the user completes, where kdbatch.toml does not name the folder.
ROOT_TO_FILL_IN = "FOLDER"


@dataclass(kw_only=True)
class SubsetFinder:
    """Finds subsets in the shard indexes, each read once, and collects what is missing.

    `places` is the largest number of videos that was asked for, by data set and part.
    """

    datasets: KnownDatasets
    places: dict[tuple[str, str], int] = field(default_factory=dict)
    _subsets: dict[tuple[str, str, str], Subset] = field(default_factory=dict)
    _rates: dict[Subset, Mapping[float, int]] = field(default_factory=dict)
    _mean_sizes: dict[tuple[str, str], tuple[float, float]] = field(default_factory=dict)
    _without: dict[tuple[Subset, tuple[str, ...]], Subset] = field(default_factory=dict)
    _unread: dict[tuple[str, str], None] = field(default_factory=dict)
    _missing: dict[tuple[str, str], MissingShards] = field(default_factory=dict)

    @property
    def shards_dir(self) -> Path:
        return self.datasets.config.shards_dir

    @property
    def missing(self) -> tuple[MissingShards, ...]:
        """The videos that are not stored, once per part, with the largest number asked for."""
        return tuple(self._missing.values())

    @property
    def unread_lists(self) -> tuple[str, ...]:
        """A sentence for each overlap list of videos that are not stored yet."""
        return tuple(
            f"{name} is not read before {dataset} is stored: runs, videos and hours are those of "
            "all of its videos, and a run without the listed ones may count as one with them."
            for dataset, name in self._unread
        )

    def index_of(self, dataset: str) -> ShardIndex | None:
        """The index of a data set; None where nothing of it is stored."""
        return self.datasets.index_of(dataset)

    def dataset(self, name: str) -> Dataset:
        """The data set of a subset that has been found."""
        return self.datasets.find(name, where="datasets")

    def encodings(self) -> dict[str, str]:
        """How each data set that was asked for is stored, of those that are."""
        indexes = {dataset: self.index_of(dataset) for dataset, _ in self.places}
        return {dataset: index.encoding for dataset, index in indexes.items() if index}

    def find(self, dataset: str, split: str, size: str, *, where: str) -> Subset:
        """The Subset with `size` videos; one that is not stored has no digest.

        Raises:
            UserError: the data set or the split is unknown, or never had so many videos.
        """
        key = (dataset, split, size)
        if key not in self._subsets:
            self._subsets[key] = self._find(dataset, split, size, where=where)
        return self._subsets[key]

    def leave_out(self, subset: Subset, lists: tuple[str, ...], *, where: str) -> Subset:
        """The subset without the videos of overlap lists, which are files of the study's folder.

        Raises:
            UserError: a list is missing, damaged, or of other shards.
        """
        if not subset.digest:
            self._unread |= {(subset.dataset, name): None for name in lists}
        if (subset, lists) not in self._without:
            self._without[subset, lists] = without_listed(
                subset,
                [find_study() / name for name in lists],
                index_of=self.index_of,
                shards_dir=self.shards_dir,
                where=where,
            )
        return self._without[subset, lists]

    def count(self, subset: Subset) -> int:
        """The number of videos of a subset."""
        if subset.num_places:
            return subset.num_places - len(subset.without)
        known = self.dataset(subset.dataset)
        stored = self._stored_part(subset.dataset, known.part_of[subset.split])
        if stored and subset.digest:
            return stored.num_in_split.get(subset.split, 0) - len(subset.without)
        return known.num_videos[subset.split]

    def bytes_per_video(self, dataset: str, split: str) -> tuple[float, float]:
        """The mean size and length, in bytes and seconds, of a stored video of the split's part."""
        known = self.dataset(dataset)
        part = known.part_of[split]
        if (dataset, part) not in self._mean_sizes:
            self._mean_sizes[dataset, part] = self._mean_size(known, part)
        return self._mean_sizes[dataset, part]

    def _mean_size(self, known: Dataset, name: str) -> tuple[float, float]:
        part = self._stored_part(known.name, name)
        num_videos = sum(shard.num_videos for shard in part.shards) if part else 0
        seconds = known.seconds_per_video
        if not part or not num_videos:
            return seconds * BYTES_PER_SECOND, seconds
        stored = sum(shard.num_frames / shard.fps for shard in part.shards if shard.fps)
        num_bytes = sum(shard.num_bytes for shard in part.shards)
        return num_bytes / num_videos, stored / num_videos or seconds

    def rates_of(self, subset: Subset) -> Mapping[float, int]:
        """The numbers of videos by frames per second, over the shards of a subset.

        They are the published ones while it is not stored, none where these differ.
        """
        if not subset.digest:
            fps = self.dataset(subset.dataset).fps
            return {fps: self.count(subset)} if fps else {}
        if subset not in self._rates:
            total: Counter[float] = Counter()
            for shard in self._shards_of(subset):
                total.update(self._rates_in(shard, subset.dataset))
            self._rates[subset] = total
        return self._rates[subset]

    def lengths_of(self, subset: Subset) -> tuple[float, ...]:
        """Minimum, deciles and maximum of the videos' lengths in seconds; none where not known."""
        if not subset.digest:
            return ()
        seconds = sorted(n for shard in self._shards_of(subset) for n in shard.lengths_seconds)
        last = len(seconds) - 1
        return tuple(seconds[round(tenth * last / 10)] for tenth in range(11)) if seconds else ()

    def _shards_of(self, subset: Subset) -> tuple[Shard, ...]:
        index = self.index_of(subset.dataset)
        return shards_of(index, subset) if index else ()

    def _rates_in(self, shard: Shard, dataset: str) -> Mapping[float, int]:
        """An index of an older version has the mean alone, and the shard's record has the rest."""
        if shard.rates:
            return {float(rate): count for rate, count in shard.rates.items()}
        folder = self.shards_dir / dataset
        if not is_present(folder / shard.record_name):
            return {shard.fps: shard.num_videos}
        samples = load_indexed_record(folder, shard).samples
        return Counter(float(rate_text(sample.fps)) for sample in samples)

    def num_bytes(self) -> float:
        """The size of all shards that the subsets so far are read from."""
        total = 0.0
        for (dataset, part), places in self.places.items():
            split = self.dataset(dataset).first_split_of(part)
            total += places * self.bytes_per_video(dataset, split)[0]
        return total

    def _find(self, dataset: str, split: str, size: str, *, where: str) -> Subset:
        known = self.datasets.find(dataset, where=where)
        part = lookup(known.part_of, split, where=where)
        stored = self._stored_part(dataset, part)
        total = _num_videos(known.num_videos[part], stored, size)
        where_split = f"{where}: {dataset}/{split}"
        is_shared = known.shares_part(split)
        needed = requested_places(size, total=total, is_shared=is_shared, where=where_split)
        self.places[dataset, part] = max(needed, self.places.get((dataset, part), 0))
        index = self.index_of(dataset)
        if index and stored and needed <= stored.num_places:
            return find_subset(index, split, size, where=where)
        self._add_missing(dataset, part, needed, size=size)
        return Subset(
            dataset=dataset,
            split=split,
            num_places=0 if is_shared else needed,
            num_classes=len(index.classes) if index else known.num_classes,
            digest="",
        )

    def _stored_part(self, dataset: str, part: str) -> Part | None:
        index = self.index_of(dataset)
        return index.parts.get(part) if index else None

    def _add_missing(self, dataset: str, part: str, needed: int, *, size: str) -> None:
        earlier = self._missing.get((dataset, part))
        if earlier and earlier.num_needed >= needed:
            return
        stored = self._stored_part(dataset, part)
        self._missing[dataset, part] = MissingShards(
            part=part,
            request=self._request(dataset, part, size=size),
            num_needed=needed,
            num_stored=stored.num_places if stored else 0,
            num_in_source=stored.num_in_source if stored else None,
        )

    def _request(self, dataset: str, part: str, *, size: str) -> ShardRequest:
        """The command that stores the subset, like the shards of the data set that are there."""
        known, index = self.dataset(dataset), self.index_of(dataset)
        request = ShardRequest(dataset=dataset)
        if index:
            request = request_like(index, part, subset=0)
        is_first = part == known.parts[0]
        return replace(
            request,
            split="" if is_first else known.first_split_of(part),
            subset=size,
            root="" if dataset in self.datasets.config.datasets else ROOT_TO_FILL_IN,
        )


def _num_videos(published: int, stored: Part | None, size: str) -> int:
    """The number of videos that a size is a part of, or its limit.

    A folder may have had fewer videos than were published when it was stored: a share is one of
    these, but a number may ask for more.
    """
    if stored is None:
        return published
    is_relative = size == "all" or size.endswith("%")
    return stored.num_in_source if is_relative else max(stored.num_in_source, published)


def describe_missing(missing: Sequence[MissingShards]) -> str:
    """The videos that are not stored, in sentences, without the commands."""
    text = f"Not stored: {', '.join(map(_count_text, missing))}."
    small = [
        f"{each.request.dataset} ({plural(each.num_in_source, 'video')})"
        for each in missing
        if each.num_in_source is not None and each.num_in_source < each.num_needed
    ]
    if not small:
        return text
    return (
        f"{text} There were no more in the folder of {', '.join(small)} when they were stored: "
        "name one with all videos, or choose a smaller --profile."
    )


def shard_commands(missing: Sequence[MissingShards], *, slurm: bool) -> tuple[str, ...]:
    """The commands that store what is missing, here or by `slurm`."""
    return tuple(each.request.command + (" --slurm" if slurm else "") for each in missing)


def _count_text(missing: MissingShards) -> str:
    lacking = missing.num_needed - missing.num_stored
    of = f" of {missing.num_needed:,}" if missing.num_stored else ""
    return f"{lacking:,}{of} videos of {missing.request.dataset}/{missing.part}"
