"""`kdbatch doctor`: what would make runs fail later, found now. Reads and asks; writes one file
into the runs folder and removes it.
"""

import json
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from kdbatch import __version__
from kdbatch.base.atomic_write import write_text
from kdbatch.base.errors import UserError
from kdbatch.base.locks import hold_lock
from kdbatch.base.text import plural
from kdbatch.launch.container.command import as_argv, check_container, python_command
from kdbatch.launch.machine import has_command, inside_job, num_cpus, queue_kind, visible_gpus
from kdbatch.launch.slurm.cluster_info import partitions, slurm_settings
from kdbatch.launch.slurm.commands import output_or_nothing
from kdbatch.vocab.config import Config

Severity = Literal["ok", "note", "bad"]
VERSIONS_CODE = "import json, kdbatch, platform, submitit; print(json.dumps([kdbatch.__version__, submitit.__version__, platform.python_version()]))"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the answer: `bad` makes runs fail, `note` is worth knowing."""

    severity: Severity
    subject: str
    message: str


def run_checks(config: Config) -> Iterator[Finding]:
    """Everything that can be seen from here, in the order in which a run needs it."""
    yield Finding(
        severity="ok",
        subject="kdbatch",
        message=f"{__version__}, Python {platform.python_version()}, submitit {version('submitit')}",
    )
    yield from _folders(config)
    yield from _scheduler(config) if queue_kind() == "slurm" else _this_machine()
    yield from _container(config)


def _folders(config: Config) -> Iterator[Finding]:
    probe = config.runs_dir / ".doctor"
    try:
        write_text(probe, "x")
        try:
            with hold_lock(probe):
                pass
        finally:
            probe.unlink()
        yield Finding(
            severity="ok",
            subject="runs",
            message=f"{config.runs_dir}/ can be written to; the nodes must see it under {config.runs_dir.resolve()}",
        )
    except OSError as error:
        yield Finding(
            severity="bad",
            subject="runs",
            message=f"{config.runs_dir}/ cannot be written to ({error.strerror}). Say another: [paths] runs",
        )
    except UserError as error:
        yield Finding(
            severity="bad", subject="runs", message=f"{error}, or say another: [paths] runs"
        )
    found = sorted(path.parent.name for path in config.shards_dir.glob("*/index.json"))
    says = (
        f"{config.shards_dir}/ has {', '.join(found)}"
        if found
        else f"none in {config.shards_dir}/ yet. Make some: kdbatch shard k400"
    )
    yield Finding(severity="ok" if found else "note", subject="shards", message=says)
    for name, place in config.datasets.items():
        if not Path(place.root).is_dir():
            yield Finding(
                severity="note",
                subject=f"datasets.{name}",
                message=f"{place.root} is no folder here; only kdbatch shard needs it",
            )


def _this_machine() -> Iterator[Finding]:
    gpus = visible_gpus()
    yield Finding(
        severity="note",
        subject="scheduler",
        message="no sbatch here: runs go through the local queue",
    )
    yield Finding(
        severity="ok",
        subject="slots",
        message=f"{plural(len(gpus), 'GPU')}, one run on each"
        if gpus
        else f"no GPU; {plural(num_cpus(), 'run')} at a time, one per core",
    )


def _scheduler(config: Config) -> Iterator[Finding]:
    if missing := [
        name for name in ("squeue", "scontrol", "scancel", "srun") if not has_command(name)
    ]:
        yield Finding(
            severity="bad",
            subject="scheduler",
            message=f"sbatch is here, but not {', '.join(missing)}. Load the site's SLURM module",
        )
    settings = slurm_settings()
    if not settings:
        yield Finding(
            severity="bad",
            subject="scheduler",
            message="the controller does not answer. Ask it: scontrol ping",
        )
        return
    yield Finding(
        severity="ok",
        subject="scheduler",
        message=f"SLURM {settings.get('SLURM_VERSION', '?')}, cluster {settings.get('ClusterName', '?')}",
    )
    if inside_job():
        yield Finding(
            severity="note",
            subject="scheduler",
            message="this is inside a job; its SLURM_* variables are kept away from sbatch",
        )
    yield from _limits(config, settings)
    yield from _interruptions(config, settings)
    accounts = has_command("sacct") and "slurmdbd" in settings.get("AccountingStorageType", "")
    says = (
        "sacct answers: it tells preemption from a requeue by hand"
        if accounts
        else "no accounting: a requeue by hand counts as a preemption"
    )
    yield Finding(severity="ok" if accounts else "note", subject="accounting", message=says)


def _limits(config: Config, settings: dict[str, str]) -> Iterator[Finding]:
    limit = settings.get("MaxArraySize", "")
    if limit.isdigit() and int(limit) < config.site.max_array_size:
        yield Finding(
            severity="bad",
            subject="arrays",
            message=f"SLURM's MaxArraySize is {limit}: write max_array_size = {limit} under [site]",
        )
    known = {p.name: p for p in partitions()}
    asked = [known[name] for name in config.site.partition.split(",") if name in known]
    if config.site.partition and not asked:
        yield Finding(
            severity="bad",
            subject="partition",
            message=f"there is no {config.site.partition!r}. Known: {', '.join(known)}",
        )
    for partition in asked or [p for p in known.values() if p.is_default]:
        yield Finding(
            severity="ok",
            subject="partition",
            message=f"{partition.name}, {_duration(partition.minutes)}, GPUs: {_kinds(partition.gpu_types, partition.has_gpus)}",
        )
        for kind, resources in config.resources.items():
            if partition.minutes and resources.minutes > partition.minutes:
                yield Finding(
                    severity="bad",
                    subject=f"resources.{kind}",
                    message=f"{resources.minutes} minutes are more than {partition.name}'s {partition.minutes}",
                )
        if (
            config.site.gpu_type
            and partition.has_gpus
            and partition.gpu_types
            and config.site.gpu_type not in partition.gpu_types
        ):
            yield Finding(
                severity="bad",
                subject="gpu_type",
                message=f"{partition.name} has no {config.site.gpu_type!r}, but {', '.join(partition.gpu_types)}",
            )


def _interruptions(config: Config, settings: dict[str, str]) -> Iterator[Finding]:
    """What happens to a run that must stop: who is signalled, and how long it has to save its
    progress.
    """
    track = settings.get("ProctrackType", "")
    if track.endswith("linuxproc") and config.container.image:
        yield Finding(
            severity="bad",
            subject="signals",
            message="ProctrackType is proctrack/linuxproc: SLURM's signals also kill the process that serves the image, and the run dies of a "
            "bus error instead of saving. Ask the site for proctrack/cgroup, or unpack the image: apptainer build --sandbox FOLDER IMAGE",
        )
    elif track:
        yield Finding(
            severity="ok" if track.endswith("cgroup") else "note",
            subject="signals",
            message=f"ProctrackType is {track}",
        )
    if wait := re.match(r"\d+", settings.get("KillWait", "")):
        early = "preempt_send_user_signal" in settings.get("SlurmctldParameters", "")
        grace = f"a preempted or requeued run has {wait[0]} s (KillWait) to save its progress" + (
            ", after an early warning" if early else ""
        )
        yield Finding(
            severity="ok" if int(wait[0]) >= 20 else "note", subject="signals", message=grace
        )
    if settings.get("JobRequeue") == "0":
        yield Finding(
            severity="note",
            subject="requeue",
            message="JobRequeue is 0; our jobs ask for it with --requeue, which a site may refuse. Try it: kdbatch doctor --submit",
        )


def _container(config: Config) -> Iterator[Finding]:
    container = config.container
    try:
        check_container(config, on_this_machine=True)
    except UserError as error:
        yield Finding(severity="bad", subject="container", message=str(error))
        return
    if not container.image:
        yield Finding(
            severity="note",
            subject="container",
            message="no image: workers run with the Python that kdbatch is installed in",
        )
        return
    yield Finding(
        severity="ok",
        subject="container",
        message=f"{output_or_nothing(container.runtime, '--version').strip() or container.runtime}, {container.image}",
    )
    words = as_argv(
        python_command(
            config, folders=[f for f in (config.runs_dir, config.shards_dir) if f.exists()]
        )
    )
    inside = output_or_nothing(*words, "-c", VERSIONS_CODE, seconds=120.0)
    if not inside:
        yield Finding(
            severity="bad",
            subject="image",
            message=f"Python does not start in it here, or lacks kdbatch. Try: {' '.join(words)} -c 'import kdbatch'",
        )
        return
    for name, ours, theirs in zip(
        ("kdbatch", "submitit"), (__version__, version("submitit")), json.loads(inside)
    ):
        same = ours == theirs
        says = f"{name} {theirs}" + (
            ""
            if same
            else f", but {ours} here: build the image anew, or install the same version here"
        )
        yield Finding(severity="ok" if same else "bad", subject="image", message=says)


def _duration(minutes: int) -> str:
    return f"at most {minutes} minutes" if minutes else "no time limit"


def _kinds(types: tuple[str, ...], has_gpus: bool) -> str:
    return ", ".join(types) or ("of one kind" if has_gpus else "none")
