"""`kdbatch doctor`: finds what would make runs fail later, and changes nothing."""

import platform
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from kdbatch import __version__
from kdbatch.base.atomic_write import write_text
from kdbatch.base.command_lines import doctor_command, shard_command, shell_line
from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.folders.presence import is_present, paths_below
from kdbatch.base.locks import hold_lock
from kdbatch.base.text import plural
from kdbatch.launch.container.command import as_argv, check_container, python_command
from kdbatch.launch.container.versions import (
    VERSIONS_CODE,
    pip_line,
    read_versions,
    version_line,
)
from kdbatch.launch.machine import (
    ask,
    expand_variables,
    has_command,
    inside_job,
    num_cpus,
    queue_kind,
    visible_gpus,
)
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.answers import shown_line, whole_number
from kdbatch.launch.slurm.cluster_info import (
    Partition,
    largest_array,
    partitions,
    slurm_settings,
)
from kdbatch.launch.slurm.commands import output_or_nothing, queued_jobs
from kdbatch.launch.slurm.job_script import check_submit_folder
from kdbatch.launch.stored_tars import wrong_tars
from kdbatch.vocab.config import Config

VIDEO_SECONDS = 120  # a file server may take as long to give PyAV to a first process
Severity = Literal["ok", "note", "bad"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the report: `bad` makes runs fail, `note` is worth knowing."""

    severity: Severity
    subject: str
    message: str


def ok(subject: str, message: str) -> Finding:
    """A finding that is as it should be."""
    return Finding(severity="ok", subject=subject, message=message)


def note(subject: str, message: str) -> Finding:
    """A finding that is worth knowing."""
    return Finding(severity="note", subject=subject, message=message)


def bad(subject: str, message: str) -> Finding:
    """A finding that makes runs fail."""
    return Finding(severity="bad", subject=subject, message=message)


def run_checks(config: Config) -> Iterator[Finding]:
    """Everything that can be checked from here, in the order in which a run needs it."""
    python = f"Python {platform.python_version()}"
    yield ok("kdbatch", f"{__version__}, {python}, submitit {version('submitit')}")
    yield from _folders(config)
    if not config.container.image:
        yield decoder_finding(_decoders_here(), config)
    yield from _scheduler(config) if queue_kind() == "slurm" else _this_machine(config)
    yield from _container(config)


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
        yield ok("slots", f"{plural(len(gpus), 'GPU')}, one run on each")
    else:
        yield ok("slots", f"no GPU; {plural(num_cpus(), 'run')} at a time, one per core")
    if config.cache.path:
        yield cache_finding(config.cache.problem(expand_variables))


def _scheduler(config: Config) -> Iterator[Finding]:
    for folder in (submissions_dir(config.runs_dir), config.shards_dir):
        try:
            check_submit_folder(folder)
        except UserError as error:
            yield bad("folders", str(error))
    needed = ("squeue", "scontrol", "scancel", "srun")
    if missing := ", ".join(name for name in needed if not has_command(name)):
        hint = "Load the site's SLURM module"
        yield bad("scheduler", f"sbatch is here, but not {missing}. {hint}")
    settings = slurm_settings()
    if not settings:
        yield bad("scheduler", "the controller does not answer. Ask it: scontrol ping")
        return
    if "SLURM_VERSION" not in settings:
        hint = "Try it: scontrol show config"
        yield bad("scheduler", f"scontrol does not show SLURM's configuration. {hint}")
        return
    cluster = settings.get("ClusterName", "?")
    yield ok("scheduler", f"SLURM {settings['SLURM_VERSION']}, cluster {cluster}")
    try:
        queued_jobs(once=True)
    except UserError as error:
        yield bad("queue", str(error))
    if inside_job():
        message = "this is inside a job; its SLURM_* variables are not passed to sbatch"
        yield note("scheduler", message)
    yield from _limits(config, settings)
    yield from _interruptions(config, settings)
    if has_command("sacct") and "slurmdbd" in settings.get("AccountingStorageType", ""):
        yield ok("accounting", "slurmdbd keeps it: preemption differs from a requeue by hand")
    else:
        yield note("accounting", "no accounting: a requeue by hand counts as a preemption")


def _limits(config: Config, settings: dict[str, str]) -> Iterator[Finding]:
    limit = largest_array(settings)
    if limit is not None and limit < config.site.max_array_size:
        hint = f"write max_array_size = {limit} under [site]"
        yield bad("arrays", f"SLURM's MaxArraySize is {settings['MaxArraySize']}: {hint}")
    known = {p.name: p for p in partitions()}
    if not known:
        yield note("partition", "sinfo names no partition. Try it: sinfo --format='%P|%l|%G'")
        return
    named = [known[name] for name in config.site.partition.split(",") if name in known]
    if config.site.partition and not named:
        names = ", ".join(known)
        yield bad("partition", f"there is no {config.site.partition!r}. Known: {names}")
    for partition in named or [p for p in known.values() if p.is_default]:
        yield from _partition(partition, config)


def _partition(partition: Partition, config: Config) -> Iterator[Finding]:
    name, limit, gpu_type = partition.name, partition.minutes, config.site.gpu_type
    gpu_types = ", ".join(partition.gpu_types)
    gpus = gpu_types or ("of one type" if partition.has_gpus else "none")
    duration = f"at most {limit} minutes" if limit else "no time limit"
    yield ok("partition", f"{name}, {duration}, GPUs: {gpus}")
    for kind, resources in config.resources.items():
        if limit and resources.minutes > limit:
            message = f"{resources.minutes} minutes are more than {name}'s {limit}"
            yield bad(f"resources.{kind}", message)
    if gpu_type and partition.gpu_types and gpu_type not in partition.gpu_types:
        yield bad("gpu_type", f"{name} has no {gpu_type!r}, but {gpu_types}")


def _interruptions(config: Config, settings: dict[str, str]) -> Iterator[Finding]:
    """Check how a run is stopped: which processes get the signal, and how long the run has to save
    its progress.
    """
    tracking = settings.get("ProctrackType", "")
    if tracking.endswith("linuxproc") and config.container.image:
        yield bad(
            "signals",
            "ProctrackType is proctrack/linuxproc: SLURM's signals also kill the process that "
            "serves the image, and the run ends with a bus error instead of saving. Ask the site "
            "for proctrack/cgroup, or unpack the image: apptainer build --sandbox FOLDER IMAGE",
        )
    elif tracking:
        severity = ok if tracking.endswith("cgroup") else note
        yield severity("signals", f"ProctrackType is {tracking}")
    wait = whole_number(settings.get("KillWait", ""))
    if wait is not None:
        message = f"a preempted or requeued run has {wait} s (KillWait) to save its progress"
        if "preempt_send_user_signal" in settings.get("SlurmctldParameters", ""):
            message += ", after an early warning"
        severity = ok if wait >= 20 else note
        yield severity("signals", message)
    if settings.get("JobRequeue") == "0":
        yield note(
            "requeue",
            "JobRequeue is 0; our jobs ask for it with --requeue, which a site may refuse. "
            f"Try it: {doctor_command(submit=True)}",
        )


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
        yield _video(config, as_argv(python_command(config, folders=())))
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
    yield _video(config, python)


def _video(config: Config, python: tuple[str, ...]) -> Finding:
    """Whether the workers' PyAV encodes and decodes a clip."""
    has_image = bool(config.container.image)
    if not has_image and config.site.setup and not find_spec("av"):
        return note("video", "PyAV is not here; the lines of [site] setup may bring it to nodes")
    command = (*python, "-m", "kdbatch.shard.codec_check")
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
