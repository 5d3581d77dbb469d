"""Plan -> run folders: the files that a worker reads, written before anything starts."""

from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans import Plan, PlannedRun, Wave, save_record
from kdbatch.vocab.runs import Assignment, RunFolder

NUM_WRITERS = 16  # threads: a shared file system is slow for each file, and serves several at once


def submissions_dir(runs_dir: Path) -> Path:
    """The journal of the study's submissions, with a folder for each sbatch."""
    return runs_dir / "slurm"


def write_runs(plan: Plan, *, config: Config) -> None:
    """Write the plan's records, and `run.json` of each run that is not done. A file with the same
    contents is not written again.
    """
    with ThreadPoolExecutor(NUM_WRITERS) as writers:
        for _ in writers.map(lambda planned: _write_run(planned, config), plan.runs):
            pass  # raises the error of a writer
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
    """The contents of `run.json`. The shards' path is absolute: a run may be started from any
    folder, and inside an image.
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
    """The plan as it is now: runs that were done since it was made are marked, and in no wave."""
    runs = tuple(replace(p, done=RunFolder(runs_dir / p.run.id).is_done()) for p in plan.runs)
    done = {p.run.id for p in runs if p.done}
    return replace(plan, runs=runs, waves=waves_without(plan, done))


def waves_without(plan: Plan, run_ids: Container[str]) -> tuple[Wave, ...]:
    """The plan's waves without these runs, and without waves that are then empty."""
    waves = []
    for wave in plan.waves:
        kept = tuple(run_id for run_id in wave.run_ids if run_id not in run_ids)
        if kept:
            waves.append(replace(wave, run_ids=kept))
    return tuple(waves)


def _saved_assignment(folder: RunFolder) -> Assignment | None:
    """The assignment on disk; None where there is none, or where it cannot be read and is to be
    replaced.
    """
    try:
        return folder.load() if folder.assignment.exists() else None
    except UserError:
        return None
