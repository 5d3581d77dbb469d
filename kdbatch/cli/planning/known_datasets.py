"""The data sets that a study may name, whose folders are listed where nothing is stored yet."""

from kdbatch.plan.known_datasets import KnownDatasets
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import Dataset
from kdbatch.vocab.sources.dataset_source import DatasetSource


def known_datasets(config: Config) -> KnownDatasets:
    """Return the published data sets and those of kdbatch.toml."""
    return KnownDatasets(config=config, list_videos=_list_videos)


def _list_videos(name: str, source: DatasetSource) -> Dataset:
    from kdbatch.shard.datasets import describe_source  # pyarrow, which a plan does not need

    return describe_source(name, source)
