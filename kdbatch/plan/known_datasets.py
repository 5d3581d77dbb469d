"""The data sets that the files of a study may name: the published ones and its own."""

from collections.abc import Callable
from dataclasses import dataclass, field

from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import DATASETS, Dataset
from kdbatch.vocab.shards.index import ShardIndex, load_index
from kdbatch.vocab.sources.dataset_source import DatasetSource, unknown_dataset


@dataclass(kw_only=True)
class KnownDatasets:
    """Finds data sets, each looked at once.

    An own data set is known from its index. Before anything of it is stored, `list_videos` lists
    its folder, where the caller can do that.
    """

    config: Config
    list_videos: Callable[[str, DatasetSource], Dataset] | None = None
    _own: dict[str, Dataset] = field(default_factory=dict)
    _indexes: dict[str, ShardIndex | None] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The published ones and those of kdbatch.toml."""
        return tuple(dict.fromkeys((*DATASETS, *self.config.datasets)))

    def index_of(self, dataset: str) -> ShardIndex | None:
        """The index of a data set; None where nothing of it is stored."""
        if dataset not in self._indexes:
            path = self.config.shards_dir / dataset / "index.json"
            found = load_index(self.config.shards_dir, dataset) if is_present(path) else None
            self._indexes[dataset] = found
        return self._indexes[dataset]

    def find(self, name: str, *, where: str) -> Dataset:
        """The data set of this name.

        Raises:
            UserError: there is none, or nothing of it is stored and it cannot be listed.
        """
        if name in DATASETS:
            return DATASETS[name]
        if name not in self.config.datasets:
            raise unknown_dataset(name, self.names, where=where)
        if name not in self._own:
            self._own[name] = self._look_at(name, self.config.datasets[name], where=where)
        return self._own[name]

    def _look_at(self, name: str, source: DatasetSource, *, where: str) -> Dataset:
        index = self.index_of(name)
        if index:
            num_classes = len(index.classes)
            return source.described(name, num_classes=num_classes, num_videos=index.num_listed)
        if self.list_videos is None:
            raise UserError(f"{where}: nothing of {name} is stored, and its folder is not listed.")
        return self.list_videos(name, source)
