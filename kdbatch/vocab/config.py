"""`kdbatch.toml`: folders and settings of the site. Nothing in it can change a result."""

import re
import tomllib
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Literal

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.parse import parse
from kdbatch.base.reading.toml_errors import explain_toml_error
from kdbatch.base.study_folder import CONFIG_NAME, find_study
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.recipes import RECIPE_KINDS
from kdbatch.vocab.runs import Cache, Resources, Retries, check_minimum

SHARD = "shard"
"""The key under [resources] for an element of `kdbatch shard --slurm`; others are kinds of run."""

SHARD_RESOURCES = Resources(gpus=0, cpus=8, minutes=480, memory_gb=16)
"""The defaults of [resources.shard]: transcoding uses no GPU."""

BIND = re.compile(r"[^:,]+(:[^:,]*(:(ro|rw))?)?")


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Folders, relative to that of kdbatch.toml."""

    shards: str = "shards"
    runs: str = "runs"
    report: str = "report"


@dataclass(frozen=True, kw_only=True)
class DatasetFolder:
    """The folder of a data set's videos, laid out as its owner publishes them."""

    root: str


@dataclass(frozen=True, kw_only=True)
class Site:
    """Options of sbatch. `setup` lines run on the node before the worker; `max_concurrent` is how
    many elements of one array run at a time.
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
    """The image that workers run in. Without an image they run with the Python that runs kdbatch.

    `binds` are SRC[:DST[:ro]]. `$NAME` at the start of one is a variable of the node; where the
    node has not set it, the bind is left out. The folders of runs, shards and cache are always
    bound. `env` is set inside, `args` are further arguments of `RUNTIME exec`.
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
                f"image: {self.image} would be fetched by every job. "
                f"Fetch it once: {self.runtime} pull FILE.sif {self.image}"
            )
        for i, bind in enumerate(self.binds):
            if not BIND.fullmatch(bind):
                raise UserError(
                    f"binds[{i}]: found {bind!r}. Write SRC, SRC:DST or SRC:DST:ro, one per string."
                )
        for name, value in self.env.items():
            if not name.isidentifier() or "\n" in value:
                raise UserError(f"env.{name}: expected NAME = a string of one line.")
        if not self.runtime:
            raise UserError(
                "runtime: is empty. Write apptainer, singularity, or the path of either."
            )


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
        kinds = (*RECIPE_KINDS, SHARD)
        for kind in self.resources:
            if kind not in kinds:
                raise UserError(
                    f"resources.{kind}: no such kind of run.{did_you_mean(kind, kinds)} "
                    f"Kinds: {', '.join(kinds)}."
                )
        for name in self.datasets:
            if name not in DATASETS:
                raise UserError(
                    f"datasets.{name}: there is no data set {name!r}."
                    f"{did_you_mean(name, DATASETS)} Data sets: {', '.join(DATASETS)}."
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


def load_config(path: Path | None = None) -> Config:
    """The configuration of the study; defaults where there is no file.

    `path` is the file, by default that of `find_study`. Relative paths in the file are relative to
    its folder; those of the result are relative to the current one.

    Raises:
        UserError: the file cannot be read or is not TOML, a field is unknown, or a value has the
        wrong type.
    """
    path = path or find_study() / CONFIG_NAME
    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        raw = tomllib.loads(text)
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text. Save it as UTF-8 in your editor.") from error
    except tomllib.TOMLDecodeError as error:
        line, problem = explain_toml_error(error, text)
        raise UserError(f"{path}:{line}: {problem}") from error
    resources = raw.get("resources")
    if isinstance(resources, dict) and isinstance(resources.get(SHARD), dict):
        resources[SHARD] = asdict(SHARD_RESOURCES) | resources[SHARD]
    return _relative_to(path.parent, parse(Config, raw, where=str(path)))


def _relative_to(folder: Path, config: Config) -> Config:
    """The configuration with its relative paths taken from `folder`."""

    def join(text: str) -> str:
        return text if not text or text[0] == "$" else str(folder / text)

    paths, container = config.paths, config.container
    binds = (bind.partition(":") for bind in container.binds)
    has_path = "/" in container.runtime  # otherwise it is a command on PATH
    return replace(
        config,
        paths=Paths(shards=join(paths.shards), runs=join(paths.runs), report=join(paths.report)),
        container=replace(
            container,
            image=join(container.image),
            runtime=join(container.runtime) if has_path else container.runtime,
            binds=tuple(f"{join(source)}{colon}{rest}" for source, colon, rest in binds),
        ),
        datasets={
            name: DatasetFolder(root=join(dataset.root))
            for name, dataset in config.datasets.items()
        },
    )
