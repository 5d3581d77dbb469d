"""A study whose every title, name, reason and value is one of the foreign strings."""

import dataclasses
import re
from pathlib import Path

import pytest

from kdbatch.vocab.done import Provenance, load_done, save_done
from kdbatch.vocab.plans.declarations import Claim, Table, Untestable
from kdbatch.vocab.plans.records import Cell, PlanRecord, save_record
from kdbatch.vocab.runs.folder import RunFolder
from support.foreign_strings import STRINGS
from support.report_runs import mark_failed, write_run
from support.reports import CLAIMS, MAPS, TABLE, StudySpec

# A title is one line without control characters, and no text of a job file has half of a surrogate
# pair.
TEXTS = tuple(text.replace("\udcff", "") for text in STRINGS)
TITLES = tuple(re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", text) for text in TEXTS)
LONG_WORD = "W" * 200


def write_foreign_study(runs_dir: Path) -> PlanRecord:
    """Write a study of one seed, and its plan: a row, a column, a claim, a statement that cannot be
    tested and a failed run for each string, and maps and tables with some of them.
    """
    plain = StudySpec().write(runs_dir)
    (plan,) = (runs_dir / "plans").glob("*.json")
    plan.unlink()
    roles = {f"r{i:02d}": title for i, title in enumerate(TITLES)}
    write_foreign_facts(runs_dir)
    run_of = {(cell.role, cell.case["subset"]): cell.run_id for cell in plain.cells}
    first_case = {"target": TITLES[0]}
    cells = []
    for i, role in enumerate(roles):
        for j, value in enumerate(TITLES):
            run_id = run_of[("T1", "T2", "student")[i % 3], ("10k", "30k")[j % 2]]
            cells.append(Cell(role=role, case={"target": value}, seed=0, run_id=run_id))
    maps = tuple(
        dataclasses.replace(MAPS[0], id=f"m{i}", title=TITLES[i], models=("r00",), at=first_case)
        for i in (7, 18)
    )
    cells += [
        Cell(role=f"map:{each.id}", case=each.at, seed=0, run_id=run_of["map:map_T1", "30k"])
        for each in maps
    ]
    cells += _failed_runs(runs_dir, plain, first_case=first_case)
    record = dataclasses.replace(
        plain,
        title=" ".join((*TITLES, LONG_WORD)),
        source=TEXTS[3],
        note=f"{TEXTS[17]} {LONG_WORD}",
        axes={"target": TITLES},
        roles={**roles, "broken": "broken"},
        tables=tuple(_table(i, tuple(roles)) for i in (3,)),
        maps=maps,
        claims=tuple(_claim(i, first_case) for i in range(len(TEXTS)) if i != 2),
        untestable=tuple(Untestable(says=text, why=f"{text} {LONG_WORD}") for text in TEXTS),
        cells=tuple(cells),
    )
    save_record(runs_dir, record)
    return record


def write_foreign_facts(runs_dir: Path) -> None:
    """Give the finished runs foreign strings as names of classes, and as what they ran on."""
    names = [field.name for field in dataclasses.fields(Provenance)]
    for number, path in enumerate(sorted(runs_dir.glob("*/done.json"))):
        done = load_done(path, warn=pytest.fail)
        assert done
        texts = [TEXTS[(number * len(names) + i) % len(TEXTS)] for i in range(len(names))]
        facts = dataclasses.replace(done.facts, classes=TEXTS)
        provenance = Provenance(**dict(zip(names, texts, strict=True)))
        save_done(path, dataclasses.replace(done, facts=facts, provenance=provenance))


def _table(number: int, roles: tuple[str, ...]) -> Table:
    names = {"id": f"t{number}", "title": TITLES[number], "note": TEXTS[number]}
    return dataclasses.replace(TABLE, rows=roles, columns=("target",), **names)


def _claim(number: int, case: dict[str, str]) -> Claim:
    says, than = f"{TEXTS[number]} {LONG_WORD}", ("r00", f"r{number:02d}")
    return dataclasses.replace(CLAIMS[0], id=f"c{number}", says=says, who="r02", than=than)


def _failed_runs(runs_dir: Path, plain: PlanRecord, *, first_case: dict[str, str]) -> list[Cell]:
    """Runs that failed, with a string as title and as reason; the runs are distinct by seed."""
    done = RunFolder(runs_dir / plain.cells[0].run_id).load().run
    cells = []
    for i, text in enumerate(TEXTS):
        run = dataclasses.replace(done, seed=1000 + i)
        folder = write_run(runs_dir, run, TITLES[i], done=False)
        mark_failed(folder, text)
        cells.append(Cell(role="broken", case=first_case, seed=1000 + i, run_id=run.id))
    return cells
