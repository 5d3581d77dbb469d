"""`kdbatch doctor --submit`: a two-minute job on a node, in the image, and what it tells."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kdbatch.base.atomic_write import load_json
from kdbatch.base.locks import hold_lock
from kdbatch.base.parse import parse
from kdbatch.launch.doctor import Finding
from kdbatch.launch.logs import read_end
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.commands import queued_jobs, run_command
from kdbatch.launch.slurm.exit_reason import last_exit_reason
from kdbatch.launch.slurm.submissions import Submission, recover
from kdbatch.launch.slurm.submit import submit_targets
from kdbatch.launch.slurm.target import ModuleTarget
from kdbatch.vocab.config import Config
from kdbatch.vocab.runs import Resources

MINUTES, CPUS, MEMORY_GB = 2, 2, 4
NODE_POLL_SECONDS = 1.0
NODE_SQUEUE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class NodeReport:
    """What `kdbatch.run.node_probe` writes."""

    host: str
    python: str
    missing: tuple[str, ...]
    user_site: bool
    shards: tuple[str, ...]
    cores: int
    listening: bool
    signals: int = 0
    decodes: bool = False
    torch: str = ""
    cuda: str = ""
    gpus: tuple[str, ...] = ()
    gpus_compute: bool = False


def submit_node_check(config: Config) -> Submission:
    """Hand the probe to SLURM, with the GPUs that a pretraining run asks for.

    Raises:
        UserError: sbatch refuses, or the image is not there.
    """
    asked = _resources(config)
    folder = submissions_dir(config.runs_dir) / "probe"
    folder.mkdir(parents=True, exist_ok=True)
    _report_path(folder).unlink(missing_ok=True)
    words = (
        "kdbatch.run.node_probe",
        str(_report_path(folder).resolve()),
        str(config.shards_dir.resolve()),
    )
    binds = (config.runs_dir, *([config.shards_dir] if config.shards_dir.exists() else []))
    target = ModuleTarget(
        cwd=str(config.runs_dir.resolve()),
        arguments=words,
        log=str((folder / "probe.log").resolve()),
    )
    with hold_lock(config.runs_dir / "submit.lock"):
        recover(folder.parent)
        jobs = submit_targets(
            {"probe": target},
            wave="probe",
            resources=asked,
            folder=folder,
            config=config,
            binds=binds,
        )
    return Submission(job_id=jobs["probe"], submitted_at=time.time(), folder=folder)


def await_node_check(
    probe: Submission, config: Config, *, log: Callable[[str], None]
) -> Iterator[Finding]:
    """What the node says, when it has said it; SIGUSR2 is sent once in between. Waits as long as
    the job is in the queue.
    """
    sent, asked_at, state = False, 0.0, ""
    while True:
        answer = _load_report(probe.folder)
        if answer and not answer.listening:
            yield from _findings(answer, config)
            return
        if answer and not sent:
            run_command("scancel", "--signal=USR2", probe.job_id)
            sent = True
        if time.monotonic() - asked_at > NODE_SQUEUE_SECONDS:
            asked_at = time.monotonic()
            job = next((job for job in queued_jobs() if job.id == probe.job_id), None)
            if job is None and _load_report(probe.folder) == answer:
                yield _job_ended(probe)
                return
            if (
                job
                and (
                    now := f"{job.state.lower()}"
                    + (f" ({job.reason})" if job.state == "PENDING" else "")
                )
                != state
            ):
                state = now
                log(f"job {probe.job_id} is {state}")
        time.sleep(NODE_POLL_SECONDS)


def _resources(config: Config) -> Resources:
    asked = config.resources.get("pretrain", Resources())
    return replace(
        asked,
        nodes=1,
        minutes=MINUTES,
        cpus=max(1, min(asked.cpus, CPUS)),
        memory_gb=min(asked.memory_gb, MEMORY_GB),
    )


def _findings(answer: NodeReport, config: Config) -> Iterator[Finding]:
    node = f"{answer.host}, Python {answer.python}, {answer.cores} cores"
    yield Finding(severity="ok", subject="node", message=node)
    if answer.missing:
        says = f"lacks {', '.join(answer.missing)}: install kdbatch[worker] there, or build the image anew: make image"
        yield Finding(severity="bad", subject="packages", message=says)
    else:
        yield Finding(
            severity="ok" if answer.decodes else "bad",
            subject="packages",
            message=f"torch {answer.torch}; a clip was {'' if answer.decodes else 'not '}decoded",
        )
    if answer.user_site and config.container.image:
        yield Finding(
            severity="note",
            subject="packages",
            message="packages of ~/.local are seen inside the image; PYTHONNOUSERSITE=1 was lost",
        )
    wanted = _resources(config).gpus
    enough = len(answer.gpus) >= wanted and (answer.gpus_compute or not wanted)
    says = f"{len(answer.gpus)} of {wanted} asked for: {', '.join(answer.gpus) or 'none'}" + (
        f", CUDA {answer.cuda}" if answer.cuda else ""
    )
    hint = "" if enough else ". Check gpu_flag under [site], gpu under [container], and the driver"
    yield Finding(severity="ok" if enough else "bad", subject="GPUs", message=says + hint)
    here = sorted(path.parent.name for path in config.shards_dir.glob("*/index.json"))
    seen = sorted(answer.shards) == here
    yield Finding(
        severity="ok" if seen else "bad",
        subject="shards",
        message="all are seen there" if seen else f"{here} here, {sorted(answer.shards)} there",
    )
    right = {
        1: "arrived once; the worker lived",
        0: "never arrived: a run at its time limit only knows the clock",
    }
    says = right.get(answer.signals, f"arrived {answer.signals} times; that does no harm")
    yield Finding(
        severity="ok" if answer.signals else "note", subject="signals", message=f"SIGUSR2 {says}"
    )


def _job_ended(probe: Submission) -> Finding:
    ending = last_exit_reason(probe)
    said = [
        line
        for name in ("probe.log", f"{probe.job_id}_0_log.err")
        for line in read_end(probe.folder / name, whole=False)[1].splitlines()[-3:]
    ]
    says = " / ".join(
        [
            ending.message
            if ending
            else f"job {probe.job_id} ended without an answer; see {probe.folder}",
            *said,
        ]
    )
    return Finding(severity="bad", subject="node", message=says)


def _load_report(folder: Path) -> NodeReport | None:
    path = _report_path(folder)
    return parse(NodeReport, load_json(path), where=str(path)) if path.exists() else None


def _report_path(folder: Path) -> Path:
    return folder / "answer.json"
