"""`kdbatch.toml`: where things lie and what the site wants. Nothing in it can change a number."""

import tomllib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.vocab.recipes import RECIPE_KINDS
from kdbatch.vocab.runs import Cache, Resources, Retries, check_minimum

SHARD = "shard"
"""Under [resources] beside the kinds of run: what one element of `kdbatch shard --slurm` asks for.
"""

SHARD_RESOURCES = Resources(gpus=0, cpus=8, minutes=480, memory_gb=16)
"""Also for what [resources.shard] leaves out: transcoding uses no GPU."""


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Folders, relative to where kdbatch is called."""

    shards: str = "shards"
    runs: str = "runs"
    report: str = "report"


@dataclass(frozen=True, kw_only=True)
class DatasetFolder:
    """Where a data set's videos lie as its owner publishes them."""

    root: str


@dataclass(frozen=True, kw_only=True)
class Site:
    """What sbatch is told. `setup` lines run on the node before the worker; `max_concurrent` caps
    each array.
    """

    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    gpu_flag: Literal["gres", "gpus-per-node"] = "gres"
    gpu_type: str = ""
    max_array_size: int = 1000
    max_concurrent: int = 64
    setup: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_minimum(self, max_array_size=1, max_concurrent=1)


@dataclass(frozen=True, kw_only=True)
class Container:
    """The image that workers run in; no image: they run with the Python that kdbatch itself runs
    with.

    `binds` are SRC[:DST[:ro]]. One that begins with `$NAME` is looked up on the node, and left out
    where the node has not set NAME. The folders of runs, shards and cache are bound without being
    named. `env` is set inside, `args` are further words for `RUNTIME exec`.
    """

    image: str = ""
    runtime: str = "apptainer"
    gpu: Literal["nv", "rocm", "none"] = "nv"
    binds: tuple[str, ...] = ()
    env: dict[str, str] = field(default_factory=dict)
    args: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if "://" in self.image:
            raise UserError(
                f"image: {self.image} would be fetched by every job. Fetch it once: {self.runtime} pull FILE.sif {self.image}"
            )
        for i, bind in enumerate(self.binds):
            source, *more = bind.split(":")
            if (
                not source
                or len(more) > 2
                or (len(more) == 2 and more[1] not in ("ro", "rw"))
                or "," in bind
            ):
                raise UserError(
                    f"binds[{i}]: found {bind!r}. Write SRC, SRC:DST or SRC:DST:ro, one to a text."
                )
        for name, value in self.env.items():
            if not name.isidentifier() or "\n" in value:
                raise UserError(f"env.{name}: expected NAME = a text of one line.")
        if not self.runtime:
            raise UserError("runtime: is empty. Write apptainer, singularity, or the path of one.")


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole file. Every field has a default: no file is a valid file."""

    decoder: Literal["pyav", "decord", "torchcodec"] = "pyav"
    paths: Paths = Paths()
    cache: Cache = field(default_factory=Cache)
    site: Site = Site()
    container: Container = field(default_factory=Container)
    retries: Retries = field(default_factory=Retries)
    resources: dict[str, Resources] = field(default_factory=dict)
    datasets: dict[str, DatasetFolder] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in self.resources:
            if kind not in (*RECIPE_KINDS, SHARD):
                raise UserError(
                    f"resources.{kind}: no such kind of run. Kinds: {', '.join((*RECIPE_KINDS, SHARD))}."
                )

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
        UserError: not a file that can be read, not TOML, an unknown field, a value of the wrong
        type.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not TOML ({error}).") from error
    resources = raw.get("resources")
    if isinstance(resources, dict) and isinstance(resources.get(SHARD), dict):
        resources[SHARD] = asdict(SHARD_RESOURCES) | resources[SHARD]
    return parse(Config, raw, where=str(path))
