"""Whether SLURM is as runs need it, seen from a login node."""

from collections.abc import Iterator, Mapping, Sequence

from kdbatch.base.command_lines import doctor_command
from kdbatch.base.errors import UserError
from kdbatch.launch.checks.findings import Finding, bad, note, ok
from kdbatch.launch.machine import has_command, inside_job
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.answers import whole_number
from kdbatch.launch.slurm.cluster_info import (
    Partition,
    is_amd_type,
    largest_array,
    partitions,
    slurm_settings,
)
from kdbatch.launch.slurm.commands import queued_jobs
from kdbatch.launch.slurm.job.job_options import KINDS, unknown_options
from kdbatch.launch.slurm.job.job_script import check_submit_folder
from kdbatch.vocab.config import Config


def scheduler_findings(config: Config) -> Iterator[Finding]:
    """The commands of SLURM, its limits and partitions, and how it stops runs."""
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
    for where, line in unknown_options(config).items():
        yield bad(where, line)
    known = {p.name: p for p in partitions()}
    if not known:
        yield note("partition", "sinfo names no partition. Try it: sinfo --format='%P|%l|%G'")
        return
    kinds_of: dict[str, list[str]] = {}  # the kinds of run that may use a partition
    for kind in KINDS:
        for name in _partition_names(kind, config, known):
            kinds_of.setdefault(name, []).append(kind)
    for name in known:
        if name in kinds_of:
            yield _partition(known[name])
    for where, asked in _named_partitions(config).items():
        if asked and not any(name in known for name in asked.split(",")):
            yield bad(where, f"there is no {asked!r}. Known: {', '.join(known)}")
    for name, kinds in kinds_of.items():
        yield from _requests(known[name], kinds, config)


def _named_partitions(config: Config) -> dict[str, str]:
    """The partitions that kdbatch.toml names, by field."""
    per_kind = config.resources.items()
    return {"partition": config.site.partition or ""} | {
        f"resources.{kind}.partition": resources.partition or "" for kind, resources in per_kind
    }


def _partition_names(kind: str, config: Config, known: Mapping[str, Partition]) -> list[str]:
    """The partitions in which jobs of a kind may run, of those that are known."""
    asked = config.resources_of(kind).over(config.site).partition
    if not asked:
        return [name for name, partition in known.items() if partition.is_default]
    return [name for name in asked.split(",") if name in known]


def _partition(partition: Partition) -> Finding:
    gpus = ", ".join(partition.gpu_types) or ("of one type" if partition.has_gpus else "none")
    duration = f"at most {partition.minutes} minutes" if partition.minutes else "no time limit"
    return ok("partition", f"{partition.name}, {duration}, GPUs: {gpus}")


def _requests(partition: Partition, kinds: Sequence[str], config: Config) -> Iterator[Finding]:
    """Find the requests of these kinds of run that a partition cannot fulfil."""
    name, limit = partition.name, partition.minutes
    wrong_types: dict[str, None] = {}
    given_types: set[str] = set()
    for kind in kinds:
        resources = config.resources_of(kind)
        if limit and kind in config.resources and resources.minutes > limit:
            message = f"{resources.minutes} minutes are more than {name}'s {limit}"
            yield bad(f"resources.{kind}", message)
        gpu_type = resources.over(config.site).gpu_type or ""
        if resources.gpus and partition.gpu_types and gpu_type not in ("", *partition.gpu_types):
            wrong_types[gpu_type] = None
        if resources.gpus:
            given_types |= {gpu_type} if gpu_type else set(partition.gpu_types)
    for gpu_type in wrong_types:
        known = ", ".join(partition.gpu_types)
        yield bad("gpu_type", f"{name} has no {gpu_type!r}, but {known}")
    is_amd = bool(given_types) and all(map(is_amd_type, given_types))
    if is_amd and config.container.image and config.container.gpu == "nv":
        types = ", ".join(sorted(given_types))
        yield bad("container.gpu", f'GPUs of {name} are AMD\'s ({types}): write gpu = "rocm"')


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
