"""Finished runs of a study, whose speed says what runs like them will take."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import entries_of
from kdbatch.base.text import plural
from kdbatch.vocab.done import Done, load_done
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.runs.run import OUTSIDE, Run

MAX_OTHERS = 300  # finished runs of other plans that are read, the newest ones
MAX_OF_RECIPE = 20  # finished runs of the plan that are read of one recipe


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """A run and the record of its end. `num_devices` worked on it."""

    run: Run
    done: Done
    num_devices: int


def load_finished_runs(
    runs_dir: Path, planned: Mapping[str, Run], found: Mapping[str, Path]
) -> tuple[tuple[FinishedRun, ...], tuple[str, ...]]:
    """The finished runs below `runs_dir`: those of the plan, of each recipe MAX_OF_RECIPE, and the
    newest others. `found` are the records of all that are done.

    Runs with damaged files are left out. The second value has one line about them, if there are
    any.
    """
    damaged: dict[str, str] = {}
    others = sorted((_modified(path), name) for name, path in found.items() if name not in planned)
    runs = dict(_few_of_each_recipe({name: planned[name] for name in found if name in planned}))
    runs |= dict(_load_runs(runs_dir, [name for _, name in others[-MAX_OTHERS:]], damaged))
    finished = []
    for name, run in runs.items():
        told: list[str] = []
        done = load_done(found[name], warn=told.append)
        if told:
            damaged[name] = told[0]
        if done and done.seconds:
            ratio = 3600 * done.device_hours / done.seconds if done.device_hours else 1.0
            finished.append(FinishedRun(run=run, done=done, num_devices=max(1, round(ratio))))
    return tuple(finished), _left_out(damaged)


def _left_out(damaged: Mapping[str, str]) -> tuple[str, ...]:
    """The line about damaged runs, of which the first is explained."""
    if not damaged:
        return ()
    return (
        f"the estimates leave out what is damaged in {plural(len(damaged), 'finished run')}. "
        f"The first: {next(iter(damaged.values()))}",
    )


def _few_of_each_recipe(runs: Mapping[str, Run]) -> Iterator[tuple[str, Run]]:
    """Seeds share a recipe, and take equally long."""
    num_runs: Counter[int] = Counter()
    for name, run in runs.items():
        num_runs[id(run.recipe)] += 1
        if num_runs[id(run.recipe)] <= MAX_OF_RECIPE:
            yield name, run


def done_files(runs_dir: Path) -> dict[str, Path]:
    """The records of the runs that are done by run id, without those that cannot be read."""
    folders = [RunFolder(runs_dir / entry.name) for entry in entries_of(runs_dir)]
    runs = [folder for folder in folders if folder.id.startswith("r")]
    return {folder.id: folder.done for folder in runs if folder.is_known_done()}


def _load_runs(
    runs_dir: Path, names: Sequence[str], damaged: dict[str, str]
) -> Iterator[tuple[str, Run]]:
    for name in names:
        try:
            yield name, RunFolder(runs_dir / name).load().run
        except UserError as error:
            done = load_done(runs_dir / name / "done.json", warn=lambda _: None)
            if done is None or done.kind != OUTSIDE:  # of which there is no recipe
                damaged[name] = str(error)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # removed since it was listed
        return 0.0
