"""Plan -> run folders: what a worker reads, written before anything starts."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans import Plan, PlannedRun, save_record
from kdbatch.vocab.runs import Assignment, RunFolder

NUM_WRITERS = 16  # a shared file system takes its time for each file, and serves several at once


def submissions_dir(runs_dir: Path) -> Path:
    """Where the study's submissions are noted, a folder for each sbatch."""
    return runs_dir / "slurm"


def write_runs(plan: Plan, *, config: Config) -> None:
    """Write the plan's records, and `run.json` of each run that is not done. A file that says the
    same already is left alone.
    """
    with ThreadPoolExecutor(NUM_WRITERS) as writers:
        for _ in writers.map(lambda planned: _write_run(planned, config), plan.runs):
            pass  # an error of one is raised here
    for record in plan.records:
        save_record(config.runs_dir, record)


def _write_run(planned: PlannedRun, config: Config) -> None:
    folder = RunFolder(config.runs_dir / planned.run.id)
    if folder.is_done():
        return
    assignment = assignment_for(planned, config=config)
    if _saved_assignment(folder) != assignment:
        folder.save(assignment)


def assignment_for(planned: PlannedRun, *, config: Config) -> Assignment:
    """What the worker is told. The shards' path is resolved: a run may be started from any folder,
    and inside an image.
    """
    return Assignment(
        run=planned.run,
        title=planned.title,
        shards_dir=str(config.shards_dir.resolve()),
        decoder=config.decoder,
        cache=config.cache,
        retries=config.retries,
        resources=planned.resources,
    )


def without_finished(plan: Plan, *, runs_dir: Path) -> Plan:
    """The plan as it stands now: runs that have ended since it was made are done and in no wave."""
    runs = tuple(replace(p, done=RunFolder(runs_dir / p.run.id).is_done()) for p in plan.runs)
    done = {p.run.id for p in runs if p.done}
    left = (
        replace(wave, run_ids=tuple(r for r in wave.run_ids if r not in done))
        for wave in plan.waves
    )
    return replace(plan, runs=runs, waves=tuple(wave for wave in left if wave.run_ids))


def _saved_assignment(folder: RunFolder) -> Assignment | None:
    """The assignment on disk; None where there is none or it cannot be read, as it is written anew
    then.
    """
    try:
        return folder.load() if folder.assignment.exists() else None
    except UserError:
        return None
