"""`run.json` belongs to its folder: the id of the run in it is the folder's name."""

import hashlib
import json
from pathlib import Path

import pytest

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.runs import run as run_module
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import View

SUBSET = Subset(dataset="ucf101", split="train01", num_places=0, num_classes=3, digest="0")
RUN = Run(recipe=Compare(data=SUBSET, view=View()), seed=0, parents=("r0",))
ASSIGNMENT = Assignment(
    run=RUN, title="t", shards_dir="shards", decoder="pyav", resources=Resources()
)


def folder_of(run: Run, tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / run.id)
    folder.save(ASSIGNMENT)
    return folder


def rewrite(folder: RunFolder, *, sealed: bool, seed: int = 0) -> None:
    raw = load_json(folder.assignment)
    raw["run"]["seed"] = seed
    write_json(folder.assignment, raw) if sealed else folder.assignment.write_text(json.dumps(raw))


@pytest.mark.parametrize("sealed", [True, False])
def test_a_seed_changed_in_run_json_is_refused(tmp_path: Path, *, sealed: bool) -> None:
    folder = folder_of(RUN, tmp_path)
    rewrite(folder, sealed=sealed, seed=1)
    message = rf"run\.json: describes the run r\w{{10}}, not {RUN.id}: .*Write it again: kdbatch"
    with pytest.raises(UserError, match=message):
        folder.load()


def test_a_run_of_a_package_that_is_not_installed_names_the_package(tmp_path: Path) -> None:
    folder = folder_of(RUN, tmp_path)
    raw = load_json(folder.assignment)
    raw["run"]["recipe"]["kind"] = "of_another_package"
    code = {"distribution": "absent-package", "version": "1.2", "package": "absent", "sha256": ""}
    raw["run"]["code"] = [code]
    write_json(folder.assignment, raw)
    with pytest.raises(UserError, match=r"run\.json: .*absent-package 1\.2, which is not"):
        folder.load()


def test_of_a_finished_run_the_folder_is_to_be_deleted(tmp_path: Path) -> None:
    folder = folder_of(RUN, tmp_path)
    folder.done.touch()
    folder.assignment.write_text(folder.assignment.read_text().replace('"t"', '"u"'))
    message = (
        rf"changed or damaged.*Make it again: rm -r {folder.path} && kdbatch resume --retry-failed$"
    )
    with pytest.raises(UserError, match=message):
        folder.load()


def test_a_file_without_a_seal_is_one_of_version_0_2(tmp_path: Path) -> None:
    folder = folder_of(RUN, tmp_path)
    rewrite(folder, sealed=False)
    assert folder.load(to_train=True) == ASSIGNMENT


def test_fields_that_came_later_change_no_id(tmp_path: Path) -> None:
    raw = load_json(folder_of(RUN, tmp_path).assignment)
    del raw["run"]["code"]
    del raw["run"]["recipe"]["view"]["augment"]  # as if it were new, with a default
    text = json.dumps([run_module.RECIPE_VERSION, raw["run"]], sort_keys=True)
    old_id = "r" + hashlib.sha256(text.encode()).hexdigest()[:10]
    folder = RunFolder(tmp_path / old_id)
    write_json(folder.assignment, raw)
    assert old_id != RUN.id
    assert folder.load(to_train=True).run == RUN


def test_a_run_of_older_recipes_is_read_and_not_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(RUN, tmp_path)
    monkeypatch.setattr(run_module, "RECIPE_VERSION", run_module.RECIPE_VERSION + 1)
    assert folder.load() == ASSIGNMENT
    with pytest.raises(UserError, match="planned by an older kdbatch.*kdbatch resume$"):
        folder.load(to_train=True)


@pytest.mark.parametrize("is_done", [True, False])
def test_a_damaged_run_that_no_plan_names_is_not_to_be_resumed(
    tmp_path: Path, *, is_done: bool
) -> None:
    folder = folder_of(RUN, tmp_path / "a b")
    if is_done:
        folder.done.touch()
    folder.assignment.write_text(folder.assignment.read_text().replace('"t"', '"u"'))
    write_json(tmp_path / "a b" / "plans" / "x.tiny.json", {"cells": [{"run_id": "r0123456789"}]})
    with pytest.raises(UserError) as caught:
        folder.load()
    assert str(caught.value).endswith(
        "No plan names this run, so resume leaves it out: submit its experiment again, or "
        f"remove it: rm -r '{folder.path}'"
    )
    write_json(tmp_path / "a b" / "plans" / "y.tiny.json", {"cells": [{"run_id": RUN.id}]})
    with pytest.raises(UserError, match="kdbatch resume --retry-failed$"):
        folder.load()
