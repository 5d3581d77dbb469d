"""The commands that plan, start and stop runs, and init and doctor; one function each."""

from pathlib import Path

from kdbatch.base.command_lines import (
    cancel_command,
    doctor_command,
    plan_command,
    resume_command,
    status_command,
)
from kdbatch.base.errors import UserError
from kdbatch.base.text import plural
from kdbatch.cli.terminal import print_line, show_plan, warn
from kdbatch.launch.doctor import Finding, run_checks
from kdbatch.launch.init_config import detect_site, write_config
from kdbatch.launch.logs import find_run
from kdbatch.launch.machine import queue_kind
from kdbatch.launch.saved_plans import choose_records, recorded_runs
from kdbatch.launch.slurm.cancel import cancel_runs
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config, load_config
from kdbatch.vocab.shards import load_index


def plan(files: tuple[Path, ...], *, profile: str) -> None:
    """`kdbatch plan`."""
    config = load_config()
    plan = make_plan(_check_files(files), profile=profile, config=config)
    num_bytes = 0
    for dataset in {item.run.recipe.data.dataset for item in plan.runs}:
        for part in load_index(config.shards_dir, dataset).parts.values():
            num_bytes += sum(shard.num_bytes for shard in part.shards)
    show_plan(plan, num_bytes=num_bytes)


def cancel(what: tuple[str, ...], *, profile: str, everything: bool) -> None:
    """`kdbatch cancel`."""
    config = load_config()
    if everything == bool(what):
        choices = (
            cancel_command("jobs/subset_size.yaml"),
            f"{cancel_command('RUN')} (ids: {status_command()})",
            cancel_command(everything=True),
        )
        raise UserError(f"name what to cancel: {', or '.join(choices)}")
    run_ids: list[str] = []
    for text in what:
        run_ids += _run_ids(text, profile=profile, config=config)
    cancelled = cancel_runs(config.runs_dir, None if everything else run_ids)
    for run_id, process in cancelled.local.items():
        warn(f"{run_id} is trained by {process}: stop its queue there with Ctrl-C")
    if cancelled.job_ids:
        files = [text for text in what if _is_file(text)]
        print_line(
            f"{plural(len(cancelled.job_ids), 'job')} cancelled; runs that have started save their "
            f"progress. Resume: {resume_command(files, profile=profile)}"
        )
    else:
        print_line("No job of these runs is in the queue.")


def init() -> None:
    """`kdbatch init`."""
    path = Path("kdbatch.toml")
    site = detect_site()
    write_config(path, site)
    names = ", ".join(partition.name for partition in site.partitions)
    slurm = f"SLURM's partitions here: {names}" if names else "no SLURM was found here"
    print_line(f"{path} is written; {slurm}")
    print_line(f"Check its values, then type: {doctor_command()}")


def doctor(*, submit: bool) -> int:
    """`kdbatch doctor`. Exit code 1 where something would make runs fail."""
    config = load_config()
    has_slurm = queue_kind() == "slurm"
    if submit and not has_slurm:
        raise UserError(
            "doctor --submit: there is no sbatch here, so no node to check. Leave --submit out."
        )
    num_bad = sum(_print_finding(finding) for finding in run_checks(config))
    if submit:
        num_bad += _check_node(config)
    elif has_slurm:
        print_line(f"What a node offers, in the image: {doctor_command(submit=True)}")
    if num_bad:
        print_line(f"{plural(num_bad, 'thing')} would make runs fail")
    else:
        print_line("nothing was found that would make runs fail")
    return 1 if num_bad else 0


def _check_node(config: Config) -> int:
    """Submit the probe and print its findings; returns how many are bad."""
    from kdbatch.launch.node_check import (  # submitit, as in _submit_slurm
        await_node_check,
        submit_node_check,
    )

    probe = submit_node_check(config)
    print_line(
        f"a probe of two minutes is job {probe.job_id}; waiting for it. "
        f"Ctrl-C leaves it in the queue, scancel {probe.job_id} ends it"
    )
    findings = await_node_check(probe, config, log=print_line)
    return sum(_print_finding(finding) for finding in findings)


def _print_finding(finding: Finding) -> bool:
    """Print one line; returns whether the finding is bad."""
    print_line(f"{finding.severity:4}  {finding.subject}: {finding.message}")
    return finding.severity == "bad"


def _check_files(files: tuple[Path, ...]) -> tuple[Path, ...]:
    if not files:
        raise UserError(
            "name at least one experiment, as in: "
            + plan_command(["jobs/subset_size.yaml"], profile="")
        )
    return files


def _run_ids(text: str, *, profile: str, config: Config) -> tuple[str, ...]:
    """The runs of an experiment's submitted plans, or the one run whose id begins with `text`."""
    if _is_file(text):
        records = choose_records(config.runs_dir, [Path(text)], profile=profile, study=Path())
        return tuple(run.id for record in records for run in recorded_runs(record))
    return (find_run(config.runs_dir, text).id,)


def _is_file(text: str) -> bool:
    """Whether an argument names an experiment; otherwise it is the beginning of a run's id."""
    return text.endswith((".yaml", ".yml")) or Path(text).is_file()
