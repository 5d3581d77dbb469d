"""Finds runs that no plan names any more, mostly because their recipe was changed since.

The report lists them, and uses none of their numbers.
"""

from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.folders.presence import entries_of
from kdbatch.report.data.recipe_fields import recipe_fields
from kdbatch.report.data.run_facts import RunFacts, load_run_facts
from kdbatch.report.data.study import Study
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.runs.run import RUN_ID

MAX_DIFFERENCES = 3


@dataclass(frozen=True, kw_only=True)
class SupersededRun:
    """A run that no plan names any more.

    `replaced_by` is the id of the run that has its title and seed now, empty where there is none;
    `differences` lists how the two runs differ.
    """

    facts: RunFacts
    replaced_by: str
    differences: str


def find_superseded(study: Study) -> tuple[tuple[SupersededRun, ...], tuple[str, ...]]:
    """Return the superseded runs, sorted by title and seed, and a warning for each folder of a run
    that cannot be listed because it is damaged or cannot be read.
    """
    warnings: list[str] = []
    current = {(run.title, run.seed): run.run_id for run in study.runs.values()}
    superseded = []
    for entry in entries_of(study.runs_dir):
        folder = RunFolder(study.runs_dir / entry.name)
        if folder.id in study.runs or not entry.name.startswith("r"):
            continue
        facts = load_run_facts(folder, [])
        if facts.seed is None:
            if not RUN_ID.fullmatch(folder.id):
                continue
            if facts.state == "unreadable":
                warnings.append(f"{folder.id}, which no plan names, is not listed: {facts.reason}")
            elif facts.state == "damaged":
                warnings.append(
                    f"{folder.assignment}: is damaged, and no plan names this run: it is not "
                    f"listed. Delete {folder.path} unless you need its files."
                )
            continue
        replaced_by = current.get((facts.title, facts.seed), "")
        differences = _differences(study.runs_dir, folder.id, replaced_by) if replaced_by else ""
        superseded.append(
            SupersededRun(facts=facts, replaced_by=replaced_by, differences=differences)
        )
    return tuple(sorted(superseded, key=_title_seed_id)), tuple(warnings)


def _title_seed_id(run: SupersededRun) -> tuple[str, int, str]:
    return run.facts.title, run.facts.seed or 0, run.facts.run_id


def _differences(runs_dir: Path, old_id: str, new_id: str) -> str:
    """Return the differences as text, for example `schedule.epochs 100, now 200; other parents`.

    Fields of the recipe come first; parents are compared by id, but their ids are not printed.
    """
    try:
        old, new = (RunFolder(runs_dir / run_id).load().run for run_id in (old_id, new_id))
    except UserError:
        return ""
    before, now = recipe_fields(old), recipe_fields(new)
    names = [name for name in dict.fromkeys([*before, *now]) if before.get(name) != now.get(name)]
    parts = []
    for name in names[:MAX_DIFFERENCES]:
        parts.append(f"{name} {before.get(name, 'none')}, now {now.get(name, 'none')}")
    if len(names) > MAX_DIFFERENCES:
        parts.append(f"{len(names) - MAX_DIFFERENCES} more fields")
    if old.parents != new.parents:
        parts.append("other parents")
    if old.code != new.code:
        parts.append("other code of " + ", ".join({c.distribution for c in old.code + new.code}))
    return "; ".join(parts) or "only kdbatch's recipe version"
