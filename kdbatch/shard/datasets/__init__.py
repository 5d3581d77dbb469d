"""Readers of data sets: of the four as their owners publish them, and of those of kdbatch.toml.

A reader of READERS takes the root folder and a part, and returns a Listing. `own.py` reads what
kdbatch.toml declares.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from kdbatch.shard.datasets.hmdb51 import read_hmdb51
from kdbatch.shard.datasets.k400 import read_k400
from kdbatch.shard.datasets.own import read_own
from kdbatch.shard.datasets.ssv2 import read_ssv2
from kdbatch.shard.datasets.ucf101 import read_ucf101
from kdbatch.shard.sources import Listing
from kdbatch.vocab.datasets import DATASETS, Dataset
from kdbatch.vocab.sources.dataset_source import DatasetSource

READERS: Mapping[str, Callable[[Path, str], Listing]] = {
    "k400": read_k400,
    "ssv2": read_ssv2,
    "ucf101": read_ucf101,
    "hmdb51": read_hmdb51,
}


def open_source(
    name: str, source: DatasetSource | None, root: Path
) -> tuple[Dataset, Callable[[str], Listing]]:
    """A data set, and the function that lists one of its parts.

    A published one is read when a part is listed; the videos of another are read at once.

    Raises:
        UserError: as `read_own` does.
    """
    if source is None or source.layout == "published":
        return DATASETS[name], lambda part: READERS[name](root, part)
    dataset, listing = read_own(name, source, root)

    def list_part(part: str) -> Listing:
        return replace(listing, videos=tuple(v for v in listing.videos if v.part == part))

    return dataset, list_part


def describe_source(name: str, source: DatasetSource) -> Dataset:
    """A data set as its folder or table lists it.

    Raises:
        UserError: as `open_source` does.
    """
    return open_source(name, source, Path(source.root))[0]
