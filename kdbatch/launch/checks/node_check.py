"""`kdbatch doctor --submit`: a two-minute job on a node, in the image, and the findings from it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kdbatch.base.atomic_write import load_json
from kdbatch.base.folders.presence import paths_below
from kdbatch.base.locks import hold_lock
from kdbatch.base.parse import parse
from kdbatch.base.reading.field_facts import Count
from kdbatch.launch.checks.doctor import Finding, bad, cache_finding, decoder_finding, note, ok
from kdbatch.launch.checks.extensions import compared
from kdbatch.launch.container.pull import prepare_container
from kdbatch.launch.logs import read_end
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.answers import QueuedJob
from kdbatch.launch.slurm.commands import run_command
from kdbatch.launch.slurm.exit_reason import last_exit_reason
from kdbatch.launch.slurm.job.job_script import check_submit_folder
from kdbatch.launch.slurm.sbatch.submit_targets import submit_targets
from kdbatch.launch.slurm.squeue.recovery import recover, study_queue
from kdbatch.launch.slurm.submissions import Submission
from kdbatch.launch.slurm.target import ModuleTarget
from kdbatch.vocab.config import Config
from kdbatch.vocab.installed.tables import installed_lines
from kdbatch.vocab.jobs.resources import Resources

MINUTES, CPUS, MEMORY_GB = 2, 2, 4
NODE_POLL_SECONDS = 1.0
NODE_SQUEUE_SECONDS = 10.0
_COMPILER_HINT = (
    "Runs compute layer by layer, which is slower. torch.compile takes a C compiler and Python's "
    "headers: build the image again, or install them"
)


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """The file that `kdbatch.run.node_probe` writes on the node.

    `missing` are packages that cannot be imported, `shards` the data sets with shards, `decoders`
    the values of `decoder` in kdbatch.toml that can be used, `cache` why the node cannot keep
    decoded frames, `compile_problem` why torch.compile fails on its GPUs, `code` a line for each
    other distribution that adds something. `listening` is
    true while the probe waits for `signals`, the number of SIGUSR2 that it received.
    """

    host: str
    python: str
    missing: tuple[str, ...]
    user_site: bool
    shards: tuple[str, ...]
    cores: Count
    listening: bool
    signals: Count = 0
    decodes: bool = False
    decoders: tuple[str, ...] = ()
    torch: str = ""
    cuda: str = ""
    rocm: str = ""
    gpus: tuple[str, ...] = ()
    gpus_compute: bool = False
    compile_problem: str = ""
    cache: str = ""
    code: tuple[str, ...] = ()


def submit_node_check(config: Config) -> Submission:
    """Submit the probe to SLURM, with the GPUs that a pretraining run requests.

    Raises:
        UserError: sbatch refuses, or the image is missing.
    """
    prepare_container(config, on_this_machine=False)
    folder = submissions_dir(config.runs_dir) / "probe"
    check_submit_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = _report_path(folder).resolve()
    report.unlink(missing_ok=True)
    target = ModuleTarget(
        cwd=str(config.runs_dir.resolve()),
        arguments=(
            "kdbatch.run.node_probe",
            str(report),
            str(config.shards_dir.resolve()),
            config.cache.path,
        ),
        log=str((folder / "probe.log").resolve()),
    )
    binds = [config.runs_dir, config.shards_dir]
    with hold_lock(config.runs_dir / "submit.lock"):
        recover(folder.parent)
        jobs = submit_targets(
            {"probe": target},
            wave="probe",
            resources=_resources(config),
            folder=folder,
            config=config,
            binds=[path for path in binds if path.exists()],
        )
    return Submission(job_id=jobs["probe"], submitted_at=time.time(), folder=folder)


def await_node_check(
    probe: Submission, config: Config, *, log: Callable[[str], None]
) -> Iterator[Finding]:
    """Wait for the probe's report, as long as its job is in the queue, and yield the findings from
    it. SIGUSR2 is sent to the job once, when the probe has started. `log` gets the job's states.
    """
    signal_sent, queried_at, shown = False, 0.0, ""
    while True:
        report = _load_report(probe.folder)
        if report and not report.listening:
            yield from _findings(report, config)
            return
        if report and not signal_sent:
            run_command("scancel", "--signal=USR2", probe.job_id)
            signal_sent = True
        if time.monotonic() - queried_at > NODE_SQUEUE_SECONDS:
            queried_at = time.monotonic()
            job = next(
                (job for job in study_queue(probe.folder.parent) if job.id == probe.job_id), None
            )
            if job is None and _load_report(probe.folder) == report:
                yield _job_ended(probe)
                return
            if job and _describe(job) != shown:
                shown = _describe(job)
                log(f"job {probe.job_id} is {shown}")
        time.sleep(NODE_POLL_SECONDS)


def _describe(job: QueuedJob) -> str:
    return f"pending ({job.reason})" if job.state == "PENDING" else job.state.lower()


def _resources(config: Config) -> Resources:
    """The resources of a pretraining run, reduced to what the probe needs; its GPUs stay."""
    of_pretraining = config.resources.get("pretrain", Resources())
    return replace(
        of_pretraining,
        nodes=1,
        runs_per_job=1,
        minutes=MINUTES,
        cpus=max(1, min(of_pretraining.cpus, CPUS)),
        memory_gb=min(of_pretraining.memory_gb, MEMORY_GB),
    )


def _findings(report: NodeReport, config: Config) -> Iterator[Finding]:
    yield ok("node", f"{report.host}, Python {report.python}, {report.cores} cores")
    if report.missing:
        hint = "install kdbatch[worker] there, or build the image again: make image"
        yield bad("packages", f"lacks {', '.join(report.missing)}: {hint}")
    elif report.decodes:
        yield ok("packages", f"torch {report.torch}; a clip was decoded")
    else:
        yield bad("packages", f"torch {report.torch}; a clip was not decoded")
    if not report.missing:
        yield decoder_finding(report.decoders, config)
    if report.user_site and config.container.image:
        message = "packages of ~/.local are seen inside the image; PYTHONNOUSERSITE=1 was lost"
        yield note("packages", message)
    yield _gpu_finding(report, num_requested=_resources(config).gpus)
    if report.compile_problem:
        yield note("compiler", f"{report.compile_problem}. {_COMPILER_HINT}")
    here = [path.parent.name for path in paths_below(config.shards_dir, "index.json")]
    if sorted(report.shards) == here:
        yield ok("shards", "the node has all of them")
    else:
        yield bad("shards", f"{here} here, {sorted(report.shards)} there")
    if config.cache.path:
        yield cache_finding(report.cache)
    yield from compared(installed_lines(), report.code, place=" on the node")
    yield _signal_finding(report.signals)


def _gpu_finding(report: NodeReport, *, num_requested: int) -> Finding:
    names = ", ".join(report.gpus) or "none"
    message = f"{len(report.gpus)} of {num_requested} requested: {names}"
    if report.cuda:
        message += f", CUDA {report.cuda}"
    if report.rocm:
        message += f", ROCm {report.rocm}"
    is_enough = len(report.gpus) >= num_requested
    if is_enough and (report.gpus_compute or not num_requested):
        return ok("GPUs", message)
    hint = "Check gpu_flag under [site], gpu under [container], and the driver"
    return bad("GPUs", f"{message}. {hint}")


def _signal_finding(num_received: int) -> Finding:
    if num_received == 0:
        hint = "a run at its time limit has only the clock"
        return note("signals", f"SIGUSR2 never arrived: {hint}")
    if num_received == 1:
        return ok("signals", "SIGUSR2 arrived once; the worker survived it")
    return ok("signals", f"SIGUSR2 arrived {num_received} times; that does no harm")


def _job_ended(probe: Submission) -> Finding:
    """The finding about a probe whose job has ended without a report, with the end of its logs."""
    reason = last_exit_reason(probe)
    message = f"job {probe.job_id} ended without a report; see {probe.folder}"
    parts = [reason.message if reason else message]
    for name in ("probe.log", f"{probe.job_id}_0_log.err"):
        _, text = read_end(probe.folder / name, whole=False)
        parts += text.splitlines()[-3:]
    return bad("node", " / ".join(parts))


def _load_report(folder: Path) -> NodeReport | None:
    path = _report_path(folder)
    return parse(NodeReport, load_json(path), where=str(path)) if path.exists() else None


def _report_path(folder: Path) -> Path:
    return folder / "answer.json"
