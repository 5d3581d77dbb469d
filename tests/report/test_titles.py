"""Titles of a study's own data sets and of networks of other packages, wherever cases are named."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from support.finished_plans import write_finished_plan
from support.own_code import EXAMPLE
from support.toys import toys

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.plan.known_datasets import KnownDatasets
from kdbatch.plan.resolve import make_plan
from kdbatch.plan.runs.titles import value_titles
from kdbatch.report.build import build_report
from kdbatch.report.data.study import load_study
from kdbatch.report.figures.accuracy import draw_accuracy
from kdbatch.report.figures.curves import draw_curves
from kdbatch.report.figures.drawing import Label
from kdbatch.report.figures.errors import draw_errors
from kdbatch.report.figures.gains import draw_gains
from kdbatch.report.stats.gains import student_gains
from kdbatch.report.tables.grid import fill_grid
from kdbatch.shard.datasets import describe_source
from kdbatch.vocab.config import Config
from kdbatch.vocab.sources.dataset_source import DatasetSource

__all__ = ["toys"]
EXPERIMENT = """\
name: mine
title: Mine
vary: {target: [gestures, ucf101]}
teachers:
  T1: {title: T1, backbone: r21d_10, target: $target}
student: {title: Student, backbone: r21d_10, target: $target, teachers: [T1]}
controls:
  labels_only: {title: Labels only, teachers: []}
tables:
  - {id: t, title: t, rows: [T1, student, labels_only], columns: [target]}
claims:
  - {id: c, says: c, kind: best_at, who: student, axis: target, value: gestures}
"""
PROFILE = """\
seeds: [0]
clip: {num_frames: 8, size_pixels: 32}
pretrain: {epochs: 1, batch_clips: 8}
finetune: {epochs: 1, batch_clips: 8, lr: 0.02}
distill: {epochs: 1, batch_clips: 8, lr: 0.02}
"""
TITLE = "Gestures & signs"


@pytest.fixture
def runs_dir(toys: Path, in_tmp: Path) -> Path:
    """The finished runs of a plan with a data set of its own beside a published one."""
    source = DatasetSource(
        root=str(toys / "ucf101" / "UCF-101"),
        layout="folders",
        title=TITLE,
        shares={"train": 0.5, "test": 0.5},
    )
    config = Config(datasets={"gestures": source})
    for name, text in (("mine.yaml", EXPERIMENT), ("profiles/small.yaml", PROFILE)):
        (in_tmp / "jobs" / name).parent.mkdir(parents=True, exist_ok=True)
        (in_tmp / "jobs" / name).write_text(text)
    plan = make_plan(
        [Path("jobs/mine.yaml")],
        profile="small",
        config=config,
        datasets=KnownDatasets(config=config, list_videos=describe_source),
    )
    write_finished_plan(plan, config)
    return in_tmp / "runs"


def test_tables_claims_and_the_key_table_have_the_title(runs_dir: Path) -> None:
    to = runs_dir.parent / "report"
    page = build_report(runs_dir, to=to).page.read_text(encoding="utf-8")
    assert '<tr><th scope="row">Gestures &amp; signs</th>' in page  # the key table
    assert 'class="num">Gestures &amp; signs</th>' in page  # the declared table
    assert "Gestures &amp; signs above UCF101" in page  # the claim
    assert r"| Gestures \& signs | UCF101 |" in (to / "tables" / "t.md").read_text()
    assert r"Gestures \& signs & UCF101" in (to / "tables" / "t.tex").read_text()


def test_no_figure_has_the_key_of_an_own_data_set(runs_dir: Path) -> None:
    study = load_study(runs_dir)
    (record,) = study.records
    drawings = (
        draw_accuracy(fill_grid(record, record.tables[0], study), {}),
        draw_gains(student_gains(record, study), record.titles),
        draw_errors(record, study)[0],
        *draw_curves(record, study)[0].values(),
    )
    for drawing in drawings:
        assert drawing
        texts = [mark.text for mark in drawing.marks if isinstance(mark, Label)]
        assert TITLE in texts and "gestures" not in "".join(texts)


def test_the_plan_of_an_older_version_is_read_and_has_no_title_of_its_own(runs_dir: Path) -> None:
    (path,) = (runs_dir / "plans").glob("*.json")
    plan = load_json(path)
    assert plan.pop("titles") == {"gestures": TITLE}
    write_json(path, plan)
    page = build_report(runs_dir, to=runs_dir.parent / "report").page.read_text(encoding="utf-8")
    assert 'class="num">gestures</th>' in page and 'class="num">UCF101</th>' in page


def test_installed_networks_have_titles_and_equal_titles_the_name_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entry = EntryPoint("tiny3d", "kdbatch_example.specs:TINY3D", "kdbatch.backbones")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.setattr(
        "kdbatch.vocab.extensions.spec_table._entry_points",
        lambda group: (entry,) if group == entry.group else (),
    )
    sources = {name: DatasetSource(root=".", layout="folders", title="G") for name in ("a", "b")}
    axes = {"network": ("tiny3d", "c3d"), "target": ("a", "b", "ucf101", "10k")}
    assert value_titles(axes, sources) == {"tiny3d": "Tiny3D", "a": "G (a)", "b": "G (b)"}
