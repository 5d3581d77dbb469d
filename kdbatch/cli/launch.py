"""The commands that start and stop runs, and init and doctor; one function each."""

import re
from collections.abc import Sequence
from pathlib import Path

from kdbatch.base.command_lines import (
    cancel_command,
    doctor_command,
    resume_command,
    status_command,
)
from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import is_present
from kdbatch.base.study_folder import CONFIG_NAME, find_study
from kdbatch.base.text import plural
from kdbatch.cli.arguments.experiments import check_experiments
from kdbatch.cli.run_list import count_states
from kdbatch.cli.study import NO_STUDY, is_study, load_study_config
from kdbatch.cli.terminal import print_line, warn
from kdbatch.launch.checks.doctor import Finding, run_checks
from kdbatch.launch.container.pull import prepare_container
from kdbatch.launch.init_config import detect_site, write_config
from kdbatch.launch.init_jobs import write_jobs
from kdbatch.launch.logs import find_run
from kdbatch.launch.machine import queue_kind
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.saved_plans import choose_records, recorded_runs
from kdbatch.launch.slurm.cancel import cancel_runs
from kdbatch.vocab.config import Config


def cancel(what: tuple[str, ...], *, profile: str, everything: bool) -> int:
    """`kdbatch cancel`. Exit code 1 where no job was cancelled."""
    if everything == bool(what):
        choices = (
            cancel_command("jobs/subset_size.yaml"),
            f"{cancel_command('RUN')} (ids: {status_command()})",
            cancel_command(everything=True),
        )
        raise UserError(f"name what to cancel: {', or '.join(choices)}")
    config = load_study_config()
    if not is_present(config.runs_dir):
        missing = f"{config.runs_dir}/ does not exist: nothing was submitted yet"
        warn(f"nothing to cancel: {missing if is_study(config) else NO_STUDY}")
        return 1
    run_ids: list[str] = []
    try:
        for text in what:
            run_ids += _run_ids(text, profile=profile, config=config)
    except UserError as error:
        warn(f"nothing to cancel: {error}")
        return 1
    cancelled = cancel_runs(config.runs_dir, None if everything else run_ids)
    for run_id, process in cancelled.local.items():
        warn(f"{run_id} is trained by {process}: stop its queue there with Ctrl-C")
    for user in sorted(set(cancelled.others.values())):
        theirs = [run_id for run_id, its in cancelled.others.items() if its == user]
        are_left = "run is left as it is" if len(theirs) == 1 else "runs are left as they are"
        warn(f"{len(theirs)} {are_left}: {user} has submitted the jobs, and can cancel them")
    for reason in cancelled.unknown.values():
        warn(f"whether a local queue trains it is not known: {reason}")
    if cancelled.job_ids:
        files = [text for text in what if _is_file(text)]
        print_line(
            f"{plural(len(cancelled.job_ids), 'job')} cancelled; runs that have started save their "
            f"progress. Resume: {resume_command(files, profile=profile)}"
        )
        return 0
    if not cancelled.others:
        warn(f"nothing was cancelled: {_why_not(config, None if everything else run_ids)}")
    return 1


def _why_not(config: Config, run_ids: Sequence[str] | None) -> str:
    """The reason why none of these runs has a job in the queue; None means all runs."""
    rows = load_run_rows(config.runs_dir)
    asked = [row for row in rows if run_ids is None or row.run_id in run_ids]
    return f"SLURM's queue has no job of {count_states(asked)}. See: {status_command()}"


def init() -> None:
    """`kdbatch init`. A second call only adds the files that are missing."""
    above = find_study()
    if above.parts:
        warn(f"the study in {above.resolve()}/ ends here: this folder becomes a study of its own")
    path, site = Path(CONFIG_NAME), detect_site()
    names = ", ".join(partition.name for partition in site.partitions)
    slurm = f"SLURM's partitions here: {names}" if names else "no SLURM was found here"
    is_new = write_config(path, site)
    print_line(f"{path} is {'written' if is_new else 'there already, and is kept'}; {slurm}")
    jobs = write_jobs(Path("jobs"))
    print_line(f"jobs/ has the study's experiments and profiles; {len(jobs.written)} written")
    if jobs.kept:
        files = ", ".join(map(str, jobs.kept))
        print_line(f"kept, though this version of kdbatch brings others: {files}")
    print_line(f"Check the values in {path}, then type: {doctor_command()}")


def doctor(*, submit: bool) -> int:
    """`kdbatch doctor`. Exit code 1 where something would make runs fail."""
    config = load_study_config()
    has_slurm = queue_kind() == "slurm"
    if submit and not has_slurm:
        raise UserError(
            "doctor --submit: there is no sbatch here, so no node to check. Leave --submit out."
        )
    if submit:
        prepare_container(config, on_this_machine=False, say=print_line)
    num_bad = sum(_print_finding(finding) for finding in run_checks(config))
    if submit:
        num_bad += _check_node(config)
    elif has_slurm:
        print_line(f"What a node offers, in the image: {doctor_command(submit=True)}")
    if num_bad:
        until = "until it is fixed" if num_bad == 1 else "until they are fixed"
        print_line(f"{plural(num_bad, 'problem')}: runs will fail {until}")
    else:
        print_line("All checks passed")
    return 1 if num_bad else 0


def _check_node(config: Config) -> int:
    """Ask SLURM about each kind of job, submit the probe, and print the findings of both; returns
    how many are bad.
    """
    from kdbatch.launch.checks.kinds import kind_findings  # submitit, as in _submit_slurm
    from kdbatch.launch.checks.node_check import await_node_check, submit_node_check

    num_bad = sum(_print_finding(finding) for finding in kind_findings(config))
    probe = submit_node_check(config)
    print_line(
        f"a probe of two minutes is job {probe.job_id}; waiting for it. "
        f"Ctrl-C leaves it in the queue, scancel {probe.job_id} ends it"
    )
    findings = await_node_check(probe, config, log=print_line)
    return num_bad + sum(_print_finding(finding) for finding in findings)


def _print_finding(finding: Finding) -> bool:
    """Print one line; returns whether the finding is bad."""
    print_line(f"{finding.severity:4}  {finding.subject}: {finding.message}")
    return finding.severity == "bad"


def _run_ids(text: str, *, profile: str, config: Config) -> tuple[str, ...]:
    """The runs of an experiment's submitted plans, or the one run whose id begins with `text`."""
    if _is_file(text):
        records = choose_records(config.runs_dir, [Path(text)], profile=profile, study=find_study())
        return tuple(run.id for record in records for run in recorded_runs(record))
    if not re.fullmatch(r"r?[0-9a-f]*", text):
        check_experiments([Path(text)], repeat=lambda files, _: cancel_command(*files))
    return (find_run(config.runs_dir, text).id,)


def _is_file(text: str) -> bool:
    """Whether an argument names an experiment; otherwise it is the beginning of a run's id."""
    return text.endswith((".yaml", ".yml")) or Path(text).is_file()
