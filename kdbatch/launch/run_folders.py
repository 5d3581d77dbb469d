"""Plan -> run folders: the files that a worker reads, written before anything starts."""

import os
import shutil
from collections.abc import Container
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from kdbatch.base.errors import UnreadableError, UserError
from kdbatch.base.folders.presence import Identity, entries_of, identity_of, is_present
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan, PlannedRun, Wave
from kdbatch.vocab.plans.records import save_record
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import RUN_ID

NUM_WRITERS = 16  # threads: a shared file system is slow for each file, and serves several at once


def submissions_dir(runs_dir: Path) -> Path:
    """The journal of the study's submissions, with a folder for each sbatch."""
    return runs_dir / "slurm"


def run_entries(runs_dir: Path) -> dict[str, int]:
    """The names of what may be run folders, sorted, each with the inode of its entry.

    Raises:
        UnreadableError: the folder cannot be listed.
    """
    return {
        entry.name: entry.inode()
        for entry in entries_of(runs_dir)
        if RUN_ID.fullmatch(entry.name) or (entry.name.startswith("r") and entry.is_dir())
    }


def all_run_ids(runs_dir: Path) -> list[str]:
    """The ids of the run folders, sorted, also of those that cannot be read; see run_entries."""
    return [name for name in run_entries(runs_dir) if _may_be_run(RunFolder(runs_dir / name))]


def _may_be_run(folder: RunFolder) -> bool:
    try:
        return folder.has_assignment()
    except UnreadableError:
        return RUN_ID.fullmatch(folder.id) is not None


def write_runs(plan: Plan, *, config: Config) -> None:
    """Write the plan's records, and `run.json` of each run that is not done. A file with the same
    contents is not written again, and nothing into a folder that cannot be read.
    """
    shards_dir = config.shards_dir.resolve()
    to_do = [planned for planned in plan.runs if not planned.done]
    with ThreadPoolExecutor(NUM_WRITERS) as writers:
        for _ in writers.map(lambda planned: _write_run(planned, config, shards_dir), to_do):
            pass  # raises the error of a writer
    for record in plan.records:
        save_record(config.runs_dir, record)


def _write_run(planned: PlannedRun, config: Config, shards_dir: Path) -> None:
    folder = RunFolder(config.runs_dir / planned.run.id)
    assignment = assignment_for(planned, config=config, shards_dir=shards_dir)
    try:
        if folder.is_done():
            return
        if planned.file and not is_present(folder.imported):
            _bring(planned.file, folder.imported)
        if _saved_assignment(folder) == assignment:
            return
    except UnreadableError:
        return  # the caller has left this run out of what it starts
    folder.save(assignment)


def _bring(file: Path, to: Path) -> None:
    """Bring the file of an import into its run folder, which nodes and images have: as another name
    of the file, or as a copy where that is another file system.
    """
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f"{to.name}.part")
    part.unlink(missing_ok=True)
    try:
        os.link(file.resolve(), part)
    except OSError:
        shutil.copyfile(file, part)
    part.replace(to)


def assignment_for(planned: PlannedRun, *, config: Config, shards_dir: Path) -> Assignment:
    """The contents of `run.json`. The path of the shards is absolute: a run may be started from any
    folder, and inside an image.
    """
    return Assignment(
        run=planned.run,
        title=planned.title,
        shards_dir=str(shards_dir),
        decoder=config.decoder,
        cache=config.cache,
        retries=config.retries,
        resources=planned.resources,
    )


def without_finished(plan: Plan, *, runs_dir: Path) -> Plan:
    """The plan as it is now: runs that were done since it was made are marked, and in no wave.

    Raises:
        UnreadableError: a run's folder cannot be read, and it may be done.
    """
    runs = tuple(
        replace(p, done=True) if not p.done and RunFolder(runs_dir / p.run.id).is_done() else p
        for p in plan.runs
    )
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


_SAVED: dict[Path, tuple[Identity, Assignment]] = {}


def _saved_assignment(folder: RunFolder) -> Assignment | None:
    """The assignment on disk; None where there is none, or where it is damaged and is to be
    replaced. A submit that stays asks again and again: a file is read again when it was replaced.
    """
    path = folder.assignment
    identity = identity_of(path)
    if identity is None:
        return None
    if path in _SAVED and _SAVED[path][0] == identity:
        return _SAVED[path][1]
    try:
        assignment = folder.load()
    except UnreadableError:
        raise
    except UserError:
        return None
    _SAVED[path] = (identity, assignment)
    return assignment
