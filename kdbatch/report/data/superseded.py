"""Runs that lie beside the study but that no plan asks for any more: mostly those of a recipe that
was changed since. They are named, and mixed into nothing.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.report.data.study import RunFacts, Study, load_run_facts
from kdbatch.vocab.runs import Run, RunFolder

MAX_DIFFERENCES = 3


@dataclass(frozen=True, kw_only=True)
class SupersededRun:
    """`now` is the id of the run that has its title and seed today, empty where there is none;
    `differs` says in what the two differ.
    """

    facts: RunFacts
    replaced_by: str
    differences: str


def find_superseded(study: Study) -> tuple[SupersededRun, ...]:
    """By title and seed. A folder that cannot be read as a run is none."""
    today = {(run.title, run.seed): run.run_id for run in study.runs.values()}
    found = []
    for path in sorted(study.runs_dir.glob("r*/run.json")):
        folder = RunFolder(path.parent)
        if folder.id in study.runs:
            continue
        facts = load_run_facts(folder, [])
        if facts.seed is not None:
            now = today.get((facts.title, facts.seed), "")
            found.append(
                SupersededRun(
                    facts=facts,
                    replaced_by=now,
                    differences=_differences(study.runs_dir, folder.id, now) if now else "",
                )
            )
    return tuple(
        sorted(found, key=lambda run: (run.facts.title, run.facts.seed or 0, run.facts.run_id))
    )


def _differences(runs_dir: Path, before: str, now: str) -> str:
    """`schedule.epochs 100, now 200; parents`: the fields of the recipe first, that of the parents
    without their ids.
    """
    try:
        old, new = (RunFolder(runs_dir / run_id).load().run for run_id in (before, now))
    except UserError:
        return ""
    was, is_now = dict(_fields(old)), dict(_fields(new))
    names = [name for name in dict.fromkeys([*was, *is_now]) if was.get(name) != is_now.get(name)]
    words = [
        f"{name} {was.get(name, 'none')}, now {is_now.get(name, 'none')}"
        for name in names[:MAX_DIFFERENCES]
    ]
    words += [f"{len(names) - MAX_DIFFERENCES} more fields"] if len(names) > MAX_DIFFERENCES else []
    words += ["other parents"] if old.parents != new.parents else []
    return "; ".join(words) or "only in how recipes were counted: another version of kdbatch"


def _fields(run: Run) -> Iterator[tuple[str, str]]:
    yield from _flatten(dataclasses.asdict(run.recipe), "")


def _flatten(value: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """(`schedule.epochs`, `100`) for every leaf."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _flatten(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(inner)
