"""`kdbatch.toml`: folders and settings of the site. Nothing in it can change a result."""

import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import did_you_mean
from kdbatch.base.parse import parse
from kdbatch.base.reading.documents import load_toml
from kdbatch.base.reading.field_facts import Limits, check_limits
from kdbatch.base.reading.shown_values import shown
from kdbatch.base.study_folder import CONFIG_NAME, expand_home, find_study
from kdbatch.base.text import plural
from kdbatch.vocab.attempts.retries import Retries
from kdbatch.vocab.jobs.images import image_reference
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.jobs.sbatch_options import SbatchOptions
from kdbatch.vocab.recipes.recipe import RECIPE_KINDS
from kdbatch.vocab.runs.cache import Cache
from kdbatch.vocab.sources.dataset_source import DatasetSource, check_source

SHARD = "shard"
"""The key under [resources] for an element of `kdbatch shard --slurm`; others are kinds of run."""

SHARD_RESOURCES = Resources(gpus=0, cpus=8, minutes=480, memory_gb=16)
"""The defaults of [resources.shard]: transcoding uses no GPU."""
RUN_RESOURCES = Resources()

CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
BIND = re.compile(r"[^:,]+(:[^:,]*(:(ro|rw))?)?")


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Folders, relative to that of kdbatch.toml."""

    shards: str = "shards"
    """Stored videos, a folder for each data set."""
    runs: str = "runs"
    """Runs and their results, a folder for each."""
    report: str = "report"
    """The report: page, tables, figures."""
    images: str = "~/.cache/kdbatch/images"
    """Images that are pulled from a registry. A site can share one folder; every node must see it.
    """


@dataclass(frozen=True, kw_only=True)
class Site(SbatchOptions):
    """Options of sbatch for all jobs, and the lines of their scripts."""

    gpu_flag: Literal["gres", "gpus-per-node"] = "gres"
    """How GPUs are requested: with the option that the site's documentation shows."""
    exclusive: bool = False
    """Whether jobs get whole nodes: they ask for nodes alone, and for none of their GPUs."""
    node_gpus: Annotated[int, Limits("GPUs", least=0, most=1024)] = 0
    """GPUs of a node; 0: not known. Jobs that need more are refused."""
    packing: Literal["srun", "queue"] = "srun"
    """How the runs of a job are started, where runs_per_job is above 1: each as a step of srun, or
    by one process on the node, which gives each its GPU and cores.
    """
    max_array_size: Annotated[int, Limits("elements", least=1, most=10_000_000)] = 1000
    """Largest job array: a larger one is split."""
    max_concurrent: Annotated[int, Limits("elements", least=1, most=10_000_000)] = 64
    """Elements of one array that run at a time."""
    setup: tuple[str, ...] = ()
    """Lines of shell that run on the node before the worker, such as module load apptainer."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_limits(self)
        for i, line in enumerate(self.setup):
            if "\0" in line or "\r" in line:
                raise UserError(f"setup[{i}]: has a character that no shell reads. Write it again.")
            if re.match(r"\s*#\s*SBATCH\b", line):
                raise UserError(
                    f"setup[{i}]: sbatch would not read {shown(line.strip())} there. Write "
                    f"{_as_field(line)}, under [site] or [resources.KIND]."
                )


def _as_field(line: str) -> str:
    """The field of kdbatch.toml that replaces a line such as `#SBATCH --mail-type=END`."""
    option = re.search(r"--([\w-]+)(?:[ =]+(\S+))?", line)
    name, value = option.groups() if option else ("NAME", "VALUE")
    return f'sbatch = {{{name} = "{value}"}}' if value else f"sbatch = {{{name} = true}}"


@dataclass(frozen=True, kw_only=True)
class Container:
    """The image that workers run in."""

    image: str = ""
    """File of the image, or oras://HOST/NAME@sha256:DIGEST (docker:// likewise), which is pulled
    once. Empty: workers run with the Python that runs kdbatch.
    """
    base: str = ""
    """A site's own image with torch, a file or docker://NAME@sha256:DIGEST, on which
    `make image BASE='--study FOLDER'` builds the image.
    """
    runtime: str = "apptainer"
    """Command that starts a container: apptainer, singularity, or the path of either."""
    gpu: Literal["nv", "rocm", "none"] = "nv"
    """GPUs to give to the container: NVIDIA's (nv), AMD's (rocm) or none."""
    binds: tuple[str, ...] = ()
    """Folders to bind, each SRC[:DST[:ro]]; those of runs, shards and cache are always bound.
    `$NAME` at the start is a variable of the node; where it is not set, the bind is left out.
    """
    env: dict[str, str] = field(default_factory=dict)
    """Variables that are set inside of the container."""
    args: tuple[str, ...] = ()
    """Further arguments of the runtime's exec."""

    def __post_init__(self) -> None:
        image_reference(self.image)
        for i, bind in enumerate(self.binds):
            if not BIND.fullmatch(bind):
                raise UserError(
                    f"binds[{i}]: found {shown(bind)}. "
                    "Write SRC, SRC:DST or SRC:DST:ro, one per string."
                )
        for name, value in self.env.items():
            if not VARIABLE.fullmatch(name) or CONTROL.search(value):
                raise UserError(
                    f"env: found {shown(name)} = {shown(value)}. Write NAME = one line."
                )
            if value.endswith('"') and "=" not in value:
                raise UserError(f"env.{name}: a quotation mark at the end is lost. Leave it out.")
        if not self.runtime:
            raise UserError(
                "runtime: is empty. Write apptainer, singularity, or the path of either."
            )


@dataclass(frozen=True, kw_only=True)
class Config:
    """The whole file. Every field has a default: no file is a valid file."""

    decoder: Literal["pyav", "decord", "torchcodec"] = "pyav"
    """Library that decodes stored videos."""
    paths: Paths = Paths()
    """Folders."""
    cache: Cache = field(default_factory=Cache)
    """Decoded frames, kept on a node."""
    site: Site = Site()
    """Options of sbatch."""
    container: Container = field(default_factory=Container)
    """The image that workers run in."""
    retries: Retries = field(default_factory=Retries)
    """Interruptions that a run may have."""
    resources: dict[Annotated[str, Limits(choices=(*RECIPE_KINDS, SHARD))], Resources] = field(
        default_factory=dict
    )
    """Request of a run, by its kind; that of shard is for `kdbatch shard NAME --slurm`."""
    datasets: dict[str, DatasetSource] = field(default_factory=dict)
    """Where the videos are, by data set."""

    def __post_init__(self) -> None:
        kinds = (*RECIPE_KINDS, SHARD)
        for kind in self.resources:
            if kind not in kinds:
                raise UserError(
                    f"resources.{kind}: no such kind of run.{did_you_mean(kind, kinds)} "
                    f"Kinds: {', '.join(kinds)}."
                )
            self._check_packing(kind)
        for name, source in self.datasets.items():
            check_source(name, source, where=f"datasets.{name}")

    def _check_packing(self, kind: str) -> None:
        asked, site, where = self.resources[kind], self.site, f"resources.{kind}"
        packed = asked.runs_per_job
        if 0 < site.node_gpus < asked.gpus * packed:
            each = f" of {plural(asked.gpus, 'GPU')} each" if packed > 1 else ""
            field = f"runs_per_job: found {packed}{each}" if each else f"gpus: found {asked.gpus}"
            most = max(1, site.node_gpus // asked.gpus) if each else site.node_gpus
            raise UserError(
                f"{where}.{field}, and a node has {site.node_gpus} (site.node_gpus). "
                f"Write at most {most}."
            )
        if packed > 1 and kind == SHARD:
            raise UserError(f"{where}.runs_per_job: is for runs. Leave it out.")
        if packed > 1 and asked.gpus > 1 and site.packing == "queue":
            raise UserError(
                f'{where}.runs_per_job: site.packing = "queue" starts runs of one process, and '
                f'these have {asked.gpus} GPUs. Write packing = "srun", or gpus = 1.'
            )

    def resources_of(self, kind: str) -> Resources:
        """The request of a kind of run, or of `shard`."""
        return self.resources.get(kind, SHARD_RESOURCES if kind == SHARD else RUN_RESOURCES)

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
    try:
        raw = load_toml(path)
    except FileNotFoundError:
        return Config()
    resources = raw.get("resources")
    if isinstance(resources, dict) and isinstance(resources.get(SHARD), dict):
        resources[SHARD] = asdict(SHARD_RESOURCES) | resources[SHARD]
    return _relative_to(path.parent, parse(Config, raw, where=str(path)))


def _relative_to(folder: Path, config: Config) -> Config:
    """The configuration with its relative paths taken from `folder`."""

    def join(text: str) -> str:
        return text if not text or text[0] == "$" else str(folder / expand_home(text))

    paths, container = config.paths, config.container
    binds = (bind.partition(":") for bind in container.binds)
    has_path = "/" in container.runtime  # otherwise it is a command on PATH
    return replace(
        config,
        paths=Paths(
            shards=join(paths.shards),
            runs=join(paths.runs),
            report=join(paths.report),
            images=join(paths.images),
        ),
        container=replace(
            container,
            image=container.image if "://" in container.image else join(container.image),
            runtime=join(container.runtime) if has_path else container.runtime,
            binds=tuple(f"{join(source)}{colon}{rest}" for source, colon, rest in binds),
        ),
        datasets={
            name: replace(source, root=join(source.root), table=join(source.table))
            for name, source in config.datasets.items()
        },
    )
