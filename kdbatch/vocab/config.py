"""`kdbatch.toml`: where things lie and what the site wants. Nothing in it can change a number."""

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kdbatch.vocab.errors import UserError
from kdbatch.vocab.read import read
from kdbatch.vocab.recipes import KINDS
from kdbatch.vocab.runs import Cache, Resources

SHARD = "shard"
"""Under [resources] beside the kinds of run: what one element of `kdbatch shard --slurm` asks for."""


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Folders, relative to where kdbatch is called."""

    shards: str = "shards"
    runs: str = "runs"
    report: str = "report"


@dataclass(frozen=True, kw_only=True)
class DatasetPlace:
    """Where a data set's videos lie as its owner publishes them."""

    root: str


@dataclass(frozen=True, kw_only=True)
class Site:
    """What sbatch is told. `setup` lines run on the node before the worker; `max_concurrent` caps each array."""

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gpu_flag: Literal["gres", "gpus-per-node"] = "gres"
    gpu_type: str = ""
    max_array_size: int = 1000
    max_concurrent: int = 64
    setup: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole file. Every field has a default: no file is a valid file."""

    decoder: Literal["pyav", "decord"] = "pyav"
    paths: Paths = Paths()
    cache: Cache = field(default_factory=Cache)
    site: Site = Site()
    resources: dict[str, Resources] = field(default_factory=dict)
    datasets: dict[str, DatasetPlace] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in self.resources:
            if kind not in (*KINDS, SHARD):
                raise UserError(f"resources.{kind}: no such kind of run. Kinds: {', '.join((*KINDS, SHARD))}.")

    @property
    def shards_dir(self) -> Path:
        return Path(self.paths.shards)

    @property
    def runs_dir(self) -> Path:
        return Path(self.paths.runs)

    @property
    def report_dir(self) -> Path:
        return Path(self.paths.report)


def load_config(path: Path = Path("kdbatch.toml")) -> Config:
    """The configuration of the folder that kdbatch is called in; defaults where there is no file.

    Raises:
        UserError: not TOML, an unknown field, a value of the wrong type.
    """
    if not path.exists():
        return Config()
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not TOML ({error}).") from error
    return read(Config, raw, where=str(path))
