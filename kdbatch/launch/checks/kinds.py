"""Whether SLURM would take a job of each kind of run: `sbatch --test-only`."""

import re
import shutil
from collections.abc import Iterator

from kdbatch.base.locks import hold_lock
from kdbatch.launch.checks.findings import Finding, bad, ok
from kdbatch.launch.container.command import as_shell_line, python_command
from kdbatch.launch.machine import Answer
from kdbatch.launch.run_folders import submissions_dir
from kdbatch.launch.slurm.answers import shown_line
from kdbatch.launch.slurm.error_meanings import main_line, remedy
from kdbatch.launch.slurm.job.job_options import KINDS
from kdbatch.launch.slurm.sbatch.call import call_sbatch, write_job_files
from kdbatch.launch.slurm.sbatch.parameters import sbatch_parameters
from kdbatch.launch.slurm.target import ModuleTarget
from kdbatch.vocab.config import Config

_STARTS = re.compile(r"to start at (\S+) using .* on nodes? (\S+)(?: in partition (\S+))?")


def kind_findings(config: Config) -> Iterator[Finding]:
    """A finding for each request that differs, with the kinds of run that have it.

    Raises:
        UserError: the folder of the jobs' files cannot be used.
    """
    kinds_of: dict[str, list[str]] = {}
    for kind in KINDS:
        kinds_of.setdefault(repr(config.resources_of(kind)), []).append(kind)
    with hold_lock(config.runs_dir / "submit.lock"):
        for kinds in kinds_of.values():
            yield _finding(", ".join(kinds), _ask_slurm(kinds[0], config))


def _ask_slurm(kind: str, config: Config) -> Answer:
    """Ask sbatch about a job of this kind, which is not queued."""
    folder = submissions_dir(config.runs_dir) / "test-only"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        files = write_job_files(
            [ModuleTarget(cwd=str(folder.resolve()), arguments=("kdbatch.run",), log="/dev/null")],
            folder=folder.resolve(),
            python=as_shell_line(python_command(config, folders=(config.runs_dir,))),
            parameters=sbatch_parameters(
                f"kdbatch-{kind}",
                resources=config.resources_of(kind),
                config=config,
                folder=folder,
                after="",
            ),
        )
        return call_sbatch(files.script, "--test-only")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _finding(kinds: str, answer: Answer) -> Finding:
    line = main_line(answer.complaint)
    if answer.code:
        return bad(f"jobs of {kinds}", f"sbatch would refuse: {line}. {remedy(answer.complaint)}")
    if starts := _STARTS.search(f"{answer.errors}\n{answer.text}"):
        at, nodes, partition = starts.groups()
        where = f", partition {partition}" if partition else ""
        return ok(f"jobs of {kinds}", f"SLURM would start one at {at} on {nodes}{where}")
    return ok(f"jobs of {kinds}", f"sbatch --test-only printed {shown_line(line)}")
