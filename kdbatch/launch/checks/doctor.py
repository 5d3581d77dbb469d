"""`kdbatch doctor`: finds what would make runs fail later, and changes nothing."""

import platform
import subprocess
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from kdbatch import __version__
from kdbatch.base.atomic_write import write_text
from kdbatch.base.command_lines import shard_command, shell_line, shell_word
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.folders.presence import is_present, paths_below
from kdbatch.base.locks import hold_lock
from kdbatch.base.text import plural
from kdbatch.launch.checks.extensions import extension_findings
from kdbatch.launch.checks.findings import Finding, bad, note, ok
from kdbatch.launch.checks.scheduler import scheduler_findings
from kdbatch.launch.checks.torch_devices import torch_finding
from kdbatch.launch.container.command import as_argv, check_container, python_command
from kdbatch.launch.container.image import image_file, image_path
from kdbatch.launch.container.versions import (
    VERSIONS_CODE,
    pip_line,
    read_versions,
    version_line,
)
from kdbatch.launch.machine import (
    ask,
    expand_variables,
    gpu_maker,
    num_cpus,
    queue_kind,
    visible_gpus,
)
from kdbatch.launch.slurm.answers import shown_line
from kdbatch.launch.slurm.commands import output_or_nothing
from kdbatch.launch.stored_tars import wrong_tars
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.images import image_reference

VIDEO_SECONDS = 120  # a file server may take as long to give PyAV to a first process


def run_checks(config: Config) -> Iterator[Finding]:
    """Everything that can be checked from here, in the order in which a run needs it."""
    python = f"Python {platform.python_version()}"
    yield ok("kdbatch", f"{__version__}, {python}, submitit {version('submitit')}")
    yield from _folders(config)
    if not config.container.image:
        yield decoder_finding(_decoders_here(), config)
    yield from scheduler_findings(config) if queue_kind() == "slurm" else _this_machine(config)
    yield from _container(config)
    yield from extension_findings(config)


def _decoders_here() -> tuple[str, ...]:
    """The decoders that are installed with this Python; nothing is imported."""
    packages = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec"}
    return tuple(name for name, package in packages.items() if find_spec(package))


def decoder_finding(decoders: Sequence[str], config: Config) -> Finding:
    """The decoders of stored videos that a machine has; `bad` if that of kdbatch.toml is not one.

    A login node may have none.
    """
    if not decoders:
        hint = "The nodes need one: pip install 'kdbatch[worker]', or an image"
        return note("decoders", f"none here. {hint}")
    found = ", ".join(decoders)
    if config.decoder not in decoders:
        hint = f'Write decoder = "{decoders[0]}" in kdbatch.toml: all give the same frames'
        return bad("decoders", f"{found}, but not {config.decoder}. {hint}")
    return ok("decoders", f"{found}; shards are read by {config.decoder}")


def cache_finding(problem: str) -> Finding:
    """Whether a machine can keep decoded frames; runs do without them where it cannot."""
    if problem:
        return note("cache", f"{problem}. Name another under [cache], or runs decode each time")
    return ok("cache", "decoded frames are kept in a folder of this user alone")


def _folders(config: Config) -> Iterator[Finding]:
    yield _runs_folder(config.runs_dir)
    yield from _shards(config.shards_dir)
    for name, dataset in config.datasets.items():
        if not Path(dataset.root).is_dir():
            message = f"{dataset.root} is not a folder here; only needed by: {shard_command(name)}"
            yield note(f"datasets.{name}", message)
        elif dataset.table and not Path(dataset.table).is_file():
            message = f"{dataset.table} is not a file here; only needed by: {shard_command(name)}"
            yield note(f"datasets.{name}", message)


def _shards(shards_dir: Path) -> Iterator[Finding]:
    try:
        names = [path.parent.name for path in paths_below(shards_dir, "index.json")]
    except UnreadableError as error:
        yield bad("shards", str(error))
        return
    wrong = [line for name in names for line in _wrong_tars(shards_dir, name)]
    for line in wrong:
        yield bad("shards", line)
    if names and not wrong:
        yield ok("shards", f"{shards_dir}/ has {', '.join(names)}, with all of their tars")
    elif not names:
        yield note("shards", f"none in {shards_dir}/ yet. Make some: {shard_command('k400')}")


def _wrong_tars(shards_dir: Path, dataset: str) -> tuple[str, ...]:
    """The tars that differ from the index, or the damage of the index itself."""
    try:
        return wrong_tars(shards_dir, dataset)
    except UserError as error:
        return (str(error),)


def _runs_folder(runs_dir: Path) -> Finding:
    """Whether files can be written and locked in the folder of the runs."""
    probe = runs_dir / ".doctor"
    try:
        missing = [path for path in (runs_dir, *runs_dir.parents) if not is_present(path)]
        write_text(probe, "x")
        try:
            with hold_lock(probe):
                pass
        finally:
            probe.unlink()
            for path in missing:
                path.rmdir()
    except OSError as error:
        problem = f"{runs_dir}/ cannot be written to ({error.strerror})"
        return bad("runs", f"{problem}. Name another: [paths] runs")
    except UserError as error:
        return bad("runs", f"{error}, or name another: [paths] runs")
    path = runs_dir.resolve()
    return ok("runs", f"{runs_dir}/ can be written to; the nodes must have it under {path}")


def _this_machine(config: Config) -> Iterator[Finding]:
    yield note("scheduler", "no sbatch here: runs go through the local queue")
    gpus = visible_gpus()
    if gpus:
        yield ok("slots", f"{plural(len(gpus), f'{gpu_maker()} GPU')}, one run on each")
    else:
        yield ok("slots", f"no GPU; {plural(num_cpus(), 'run')} at a time, one per core")
    if config.cache.path:
        yield cache_finding(config.cache.problem(expand_variables))


def _container(config: Config) -> Iterator[Finding]:
    container = config.container
    try:
        check_container(config, on_this_machine=True)
    except UserError as error:
        yield bad("container", str(error))
        return
    if not container.image:
        message = "no image: workers run with the Python that kdbatch is installed in"
        yield note("container", message)
        yield from _workers(config, as_argv(python_command(config, folders=())))
        return
    if image_reference(container.image):
        yield (finding := _pulled(config))
        if finding.severity != "ok":
            return
    printed = output_or_nothing(container.runtime, "--version")
    yield ok("container", f"{version_line(printed) or container.runtime}, {container.image}")
    folders = [folder for folder in (config.runs_dir, config.shards_dir) if is_present(folder)]
    python = as_argv(python_command(config, folders=folders))
    printed = output_or_nothing(*python, "-c", VERSIONS_CODE, seconds=120.0)
    versions = read_versions(printed)
    if not versions:
        problem = "Python does not start in it here, or lacks kdbatch"
        if printed.strip():
            problem = f"Python prints no versions of kdbatch in it, but {shown_line(printed)}"
        yield bad("image", f"{problem}. Try: {shell_line(*python, '-c', 'import kdbatch')}")
        return
    here = {"kdbatch": __version__, "submitit": version("submitit")}
    for (name, ours), theirs in zip(here.items(), versions):
        if ours == theirs:
            yield ok("image", f"{name} {theirs}")
        else:
            hint = "build the image again, or install the same version here"
            yield bad("image", f"{name} {theirs}, but {ours} here: {hint}")
    yield from _workers(config, python)


def _pulled(config: Config) -> Finding:
    """Whether the image of a registry is here, with the bytes that were pulled."""
    path, image = image_path(config), image_file(config)
    if image is None:
        return note("image", f"is not in {path.parent} yet: the first submit pulls it")
    if sha256_of(path) != image.sha256:
        hint = f"Remove it, and the next submit pulls it again: rm {shell_word(path)}"
        return bad("image", f"{path} is damaged: its sha256 is not that of the pull. {hint}")
    return ok("image", f"{path} has the bytes that were pulled, sha256 {image.sha256[:12]}")


def _workers(config: Config, python: tuple[str, ...]) -> Iterator[Finding]:
    """Whether the workers' packages decode videos, and compute on the GPUs of this machine."""
    yield _video(config, python)
    if queue_kind() == "local" and (gpus := visible_gpus()):
        gpu = config.container.gpu if config.container.image else ""
        yield torch_finding(python, num_gpus=len(gpus), maker=gpu_maker(), gpu=gpu)


def _video(config: Config, python: tuple[str, ...]) -> Finding:
    """Whether the workers' PyAV encodes and decodes a clip."""
    has_image = bool(config.container.image)
    if not has_image and config.site.setup and not find_spec("av"):
        return note("video", "PyAV is not here; the lines of [site] setup may bring it to nodes")
    command = (*python, "-P", "-m", "kdbatch.shard.codec_check")
    try:
        tried = ask(command, seconds=VIDEO_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        problem = f"no clip in {VIDEO_SECONDS} s"
        if isinstance(error, OSError):
            problem = f"Python cannot be started ({error.strerror})"
        return bad("video", f"{problem}. Try it: {shell_line(*command)}")
    last_line = tried.text.strip().rpartition("\n")[2]
    if tried.code == 0:
        return ok("video", f"PyAV {last_line} encodes and decodes a clip")
    reason = tried.complaint.strip().rpartition("\n")[2] or f"exit code {tried.code}"
    hint = "Build the image again: make image" if has_image else f"Install it: {pip_line('av')}"
    return bad("video", f"a clip cannot be encoded and decoded ({reason}). {hint}")
