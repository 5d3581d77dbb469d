"""A study whose teachers are from elsewhere, from their files to a student and a report."""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from support.micro_study import PROFILE, submit, wait_for_success, write_shards

from kdbatch.base.errors import UserError
from kdbatch.cli.command import dispatch
from kdbatch.cli.commands import Commands
from kdbatch.launch.checks.imported_files import check_imported_files
from kdbatch.launch.run_folders import assignment_for
from kdbatch.plan.known_datasets import KnownDatasets
from kdbatch.plan.resolve import make_plan
from kdbatch.plan.subsets import SubsetFinder
from kdbatch.result.read import read_rows
from kdbatch.run.imports.__main__ import problem_of
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.weights import load_classifier
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.config import Config
from kdbatch.vocab.done import load_done
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import load_samples

WIDTH = 0.0625
EXPERIMENT = {
    "name": "mine",
    "title": "Teachers from elsewhere",
    "vary": {"target": ["ucf101"]},
    "teachers": {
        "T1": {
            "title": "T1 ready",
            "backbone": "r2plus1d_18",
            "target": "$target",
            "weights": "weights/ready.pt",
            "keys": {"state.": ""},
            "classes": "classes.txt",
        },
        "T2": {
            "title": "T2 outputs",
            "target": "$target",
            "outputs": "weights/outputs.parquet",
            "classes": "classes.txt",
        },
        "T3": {
            "title": "T3 fine-tuned",
            "backbone": "r2plus1d_18",
            "target": "$target",
            "weights": "weights/backbone.safetensors",
        },
    },
    "student": {
        "title": "Student",
        "backbone": "shufflenet_2x",
        "target": "$target",
        "teachers": ["T1", "T2", "T3"],
        "weighting": "ca-mkd",
    },
    "controls": {"labels_only": {"title": "Labels only", "teachers": []}},
    "probes": ["retrieval"],
    "tables": [
        {
            "id": "all",
            "title": "All",
            "rows": ["T1", "T2", "T3", "student", "labels_only"],
            "columns": ["target"],
        }
    ],
    "claims": [
        {
            "id": "beats",
            "says": "The ready teacher is above the student.",
            "kind": "beats",
            "who": "T1",
            "than": ["student"],
        }
    ],
}


def write_study(folder: Path, **changes: object) -> None:
    """Write the experiment, with changes of T1, and its profile."""
    raw = json.loads(json.dumps(EXPERIMENT))
    raw["teachers"]["T1"] |= changes
    raw["teachers"]["T1"] = {k: v for k, v in raw["teachers"]["T1"].items() if v is not None}
    (folder / "jobs" / "profiles").mkdir(parents=True, exist_ok=True)
    (folder / "jobs" / "mine.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    profile = PROFILE.replace("EPOCHS", "2").replace("r21d_10: 0.0625", f"r2plus1d_18: {WIDTH}")
    kept = yaml.safe_load(profile)
    del kept["leave_out"], kept["keep"]
    (folder / "jobs" / "profiles" / "test.yaml").write_text(yaml.safe_dump(kept))


def make_network(num_classes: int) -> Classifier:
    torch.manual_seed(7)
    return Classifier(
        build_backbone(Backbone(kind="r2plus1d_18", width=WIDTH)), num_classes=num_classes
    )


def write_files(folder: Path) -> None:
    """Write a classifier with a shuffled list of classes, a backbone and a table of outputs."""
    classes = list(load_index(folder / "shards", "ucf101").classes)
    names = ["Something Else", *reversed(classes)]
    (folder / "classes.txt").write_text("\n".join(name.lower() for name in names) + "\n")
    (folder / "weights").mkdir(exist_ok=True)
    network = make_network(len(names))
    state = {k.removeprefix("backbone."): v for k, v in network.state_dict().items()}
    torch.save({"epoch": 3, "state": state}, folder / "weights" / "ready.pt")
    backbone = {k: v.contiguous() for k, v in network.backbone.state_dict().items()}
    save_file(backbone, folder / "weights" / "backbone.safetensors")
    finder = SubsetFinder(datasets=KnownDatasets(config=Config()))
    rng = np.random.default_rng(0)
    rows = []
    for split, stored in (("train", "train01"), ("test", "test01")):
        subset = finder.find("ucf101", stored, "all", where="test")
        for _, sample in load_samples(folder / "shards", subset):
            right = names.index(classes[sample.label])
            for view in range(2 if split == "train" else 3):
                logit_K = rng.normal(size=len(names))
                logit_K[right] += 3
                rows.append(
                    {"split": split, "key": sample.key, "view": view, "logit_K": logit_K.tolist()}
                )
    frame = pl.DataFrame(rows).sample(fraction=1.0, shuffle=True, seed=1)
    frame.write_parquet(folder / "weights" / "outputs.parquet")


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored")
    write_shards(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_files(folder)
    return folder


@pytest.fixture
def study(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "shards").symlink_to(stored / "shards")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(stored / "weights", tmp_path / "weights")
    shutil.copy(stored / "classes.txt", tmp_path)
    write_study(tmp_path)
    return tmp_path


def planned() -> Plan:
    return make_plan([Path("jobs/mine.yaml")], profile="test", config=Config(), has_gpus=False)


def refusal() -> tuple[str, ...]:
    """The lines of the first mistake, without a process of its own for each."""
    try:
        plan = planned()
    except UserError as error:
        return error.lines
    for item in plan.runs:
        if item.file:
            raw = dataclasses.asdict(
                assignment_for(item, config=Config(), shards_dir=Path("shards"))
            )
            if lines := problem_of(raw, str(item.file)):
                return lines
    raise AssertionError("nothing is refused")


def test_imports_are_runs_that_cost_nothing_unless_they_are_tested(
    study: Path,
) -> None:
    plan = planned()
    imports = [item for item in plan.runs if isinstance(item.run.recipe, Import)]
    assert [item.title for item in imports] == [
        "import R(2+1)D-18 from weights/ready.pt as a classifier of ucf101",
        "import outputs of weights/outputs.parquet on ucf101",
        "import R(2+1)D-18 from weights/backbone.safetensors",
    ]
    assert [item.cost.device_hours > 0 for item in imports] == [True, False, False]
    assert plan.waves[0].name == "import"
    assert sum("Add the line sha256: " in line for line in plan.warnings) == 3
    assert check_imported_files(plan, Config()) == ()


def test_the_id_is_that_of_the_file(study: Path) -> None:
    before = {item.title: item.run.id for item in planned().runs}
    path = study / "weights" / "backbone.safetensors"
    tensors = load_file(path)
    shutil.copy(path, study / "weights" / "same.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, path)
    after = {item.title: item.run.id for item in planned().runs}
    changed = {title for title in before if before[title] != after[title]}
    assert {title.split()[0] for title in changed} == {"import", "fine-tune", "train", "retrieve"}
    assert not any("ready" in title and "train" not in title for title in changed)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weights": "weights/none.pt"}, "T1.weights: there is no file"),
        ({"sha256": "0" * 64}, "T1.sha256: .* has [0-9a-f]{64}. Fetch the file again"),
        ({"sha256": "0" * 63}, "sha256: expected 64 digits"),
        ({"keys": {}}, '187 missing .*not of the network.* Write keys: {state.: ""}'),
        ({"keys": {"state.": "", "module.": ""}}, "keys: no name begins with 'module.'"),
        (
            {"keys": {"state.": "", "state.fc.": None}},
            "2 missing .fc.weight, fc.bias.*Names are as keys",
        ),
        ({"backbone": "shufflenet_2x"}, "tensors differ from the network's"),
        ({"classes": "short.txt"}, "classes: .* of the .* classes of ucf101 are not among the 1"),
        ({"classes": "none.txt"}, "T1.classes: none.txt: No such file"),
        ({"classes": "other.txt"}, "2 of another shape .fc.weight 3x32 for 4x32"),
        ({"classes": None}, "2 not of the network .fc.weight, fc.bias.. Names are as"),
        ({"weights": "classes.txt"}, "is neither safetensors nor tensors alone"),
        ({"pretrain": {"task": "rotnet", "dataset": "k400", "subset": "8"}}, "pretrain: does not"),
        ({"crop": "center"}, "crop: does not go with weights that are used as they are"),
        ({"weights": None}, "keys: does not go with a network without weights or outputs"),
        ({"backbone": None}, "backbone: is missing"),
    ],
)
def test_a_mistake_is_found_before_a_run_starts(
    study: Path, changes: dict[str, object], words: str
) -> None:
    (study / "short.txt").write_text("Archery\n")
    (study / "other.txt").write_text((study / "classes.txt").read_text() + "One more\n")
    write_study(study, **changes)
    first, *others = refusal()
    assert re.search(words, first) and len(first) < 500, first
    assert all(line.startswith("  ") for line in others)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda f: f.filter(pl.col("key") != f["key"][0]), "1 of .* videos have no row"),
        (lambda f: f.slice(1), "videos differ in their views"),
        (lambda f: f.with_columns(view=pl.lit(0)), "videos differ in their views"),
        (lambda f: f.drop("view"), "is no table of outputs .*view.*Columns: split, key, view"),
        (lambda f: f.with_columns(logit_K=pl.col("logit_K").list.slice(1)), "a row has .* logits"),
        (lambda f: f.with_columns(pl.col("logit_K") * float("inf")), "no finite number"),
    ],
)
def test_a_table_of_outputs_that_lacks_something_is_refused(
    study: Path, spoil: Callable[[pl.DataFrame], pl.DataFrame], words: str
) -> None:
    path = study / "weights" / "outputs.parquet"
    spoil(pl.read_parquet(path)).write_parquet(path)
    (line,) = refusal()
    assert re.search(words, line) and "outputs.parquet" in line, line


def test_plan_and_submit_say_what_a_worker_says(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(study, keys={})
    (study / "runs").mkdir()
    for words in (["plan"], ["submit", "--local", "--dry-run"]):
        assert dispatch(Commands(), [*words, "jobs/mine.yaml", "--profile=test"]) == 2
        said = capsys.readouterr().err
        assert "ready.pt: tensors differ from the network's: 187 missing" in said
        assert "  missing: layer1.0.conv1.0.0.weight" in said
    assert not list((study / "runs").iterdir())


def test_nothing_of_a_pickle_is_executed(study: Path) -> None:
    mark = study / "executed"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(mark),)

    torch.save({"state": Trap()}, study / "weights" / "ready.pt")
    (line,) = refusal()
    assert "tensors alone" in line and not mark.exists()


@pytest.mark.slow
def test_a_student_learns_from_them_and_the_report_has_them(study: Path) -> None:
    wait_for_success(submit(study, Path("jobs/mine.yaml")), timeout=600)
    plan = planned()
    assert all(item.done for item in plan.runs)
    for name in ("ready.pt", "outputs.parquet", "backbone.safetensors"):
        assert (study / "weights" / name).exists()
    assert not list((study / "runs").glob("*/imported"))
    ready, outputs, backbone = (
        RunFolder(study / "runs" / item.run.id)
        for item in plan.runs
        if isinstance(item.run.recipe, Import)
    )
    classes = load_index(study / "shards", "ucf101").classes
    names = (study / "classes.txt").read_text().splitlines()
    rows = [names.index(name.lower()) for name in classes]
    own = make_network(len(names)).eval()
    clip = torch.randn(2, 3, 8, 32, 32)
    assert torch.equal(load_classifier(ready)(clip), own(clip)[:, rows])
    kept = load_file(backbone.model)
    assert all(torch.equal(kept[k], v) for k, v in own.backbone.state_dict().items())
    done = load_done(ready.done, warn=print)
    assert done and done.facts.classes == classes
    top1 = read_rows(study / "runs", [outputs.id]).frame.filter(pl.col("name") == "top1")
    assert top1["value"][0] > 80
    report = subprocess.run(
        [sys.executable, "-m", "kdbatch", "report"], cwd=study, capture_output=True, text=True
    )
    assert report.returncode == 0, report.stderr
    page = (study / "report" / "index.html").read_text()
    assert "import R(2+1)D-18 from weights/ready.pt" in page and "T2 outputs" in page
    shutil.rmtree(study / "weights")
    raw = yaml.safe_load((study / "jobs" / "mine.yaml").read_text())
    for role, item in zip(raw["teachers"], (ready, outputs, backbone), strict=True):
        recipe = item.load().run.recipe
        assert isinstance(recipe, Import)
        raw["teachers"][role]["sha256"] = recipe.sha256
    (study / "jobs" / "mine.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    again = planned()
    assert [item.run.id for item in again.runs] == [item.run.id for item in plan.runs]
