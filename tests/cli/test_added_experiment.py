"""An experiment is one more job file: no code knows the names of experiments."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.inputs import JOBS
from support.reports import make_correct

from kdbatch.base.atomic_write import write_json
from kdbatch.launch.run_folders import write_runs
from kdbatch.plan.resolve import make_plan
from kdbatch.report.build import build_report
from kdbatch.result.schema import PREDICTIONS, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import RunFolder

ADDED = """\
name: weightings
title: Three ways to weigh teachers
vary:
  weighting: [equal, ae-kd, ca-mkd]
teachers:
  T1:
    title: T1 RotNet
    backbone: r21d_10
    pretrain: {task: rotnet, complexity: 3, dataset: k400, subset: 50k}
    target: ucf101
  T2:
    title: T2 VCOP
    backbone: r21d_10
    pretrain: {task: vcop, complexity: 1, dataset: k400, subset: 50k}
    target: ucf101
student:
  title: Student
  backbone: r21d_10
  target: ucf101
  teachers: [T1, T2]
  weighting: $weighting
controls:
  labels_only: {title: Labels only, teachers: [], weighting: none}
tables:
  - id: table7
    title: Accuracy by weighting
    rows: [T1, T2, student, labels_only]
    columns: [weighting]
maps:
  - {id: cka_equal, title: Student of equal teachers, models: [student], at: {weighting: equal}}
claims:
  - id: ae_kd_best
    says: AE-KD weighs best.
    kind: best_at
    who: student
    axis: weighting
    value: ae-kd
  - id: above_labels
    says: Students are above labels alone.
    kind: beats
    who: student
    than: [labels_only]
    control: true
"""
ACCURACY = {"equal": 0.7, "ae-kd": 0.9, "ca-mkd": 0.6}


@pytest.fixture
def plan(sharded: Callable[..., Config], in_tmp: Path) -> Plan:
    """All files in a folder, planned together at the profile micro."""
    config = sharded(k400=16, ssv2=16, ucf101=96)
    shutil.copytree(JOBS, in_tmp / "jobs")
    (in_tmp / "jobs" / "weightings.yaml").write_text(ADDED)
    plan = make_plan(sorted((in_tmp / "jobs").glob("*.yaml")), profile="micro", config=config)
    write_runs(plan, config=config)
    return plan


def write_results(folder: RunFolder, accuracy: float) -> None:
    """Write the files of a finished classifier that the report reads."""
    correct_N = make_correct(folder.id, "", 0, num_videos=200, accuracy=accuracy)
    top1 = Measure(name="top1", value=100 * accuracy, unit="percent")
    write_measures(folder.rows, folder.id, [top1], schema=ROWS)
    rows = []
    for i, is_correct in enumerate(correct_N.astype(int).tolist()):
        scores = [is_correct, 1 - is_correct]
        row = {"run_id": folder.id, "key": f"v{i}", "label": 0, "place": 1 - is_correct}
        rows.append(row | {"probability_K": scores, "logit_K": scores})
    write_table(folder.predictions, rows, schema=PREDICTIONS)
    write_json(folder.done, {"kind": "distill", "seconds": 1.0})


def test_it_is_planned_with_the_others_and_shares_their_runs(plan: Plan) -> None:
    assert len(plan.records) == 7
    own = [item for item in plan.runs if "weightings" in item.used_by]
    shared = {item.title for item in own if len(item.used_by) > 1}
    assert "pretrain R(2+1)D by RotNet C3 on k400[:16], seed 0" in shared
    assert "train R(2+1)D on ucf101 from labels only, seed 0" in shared
    teachers = "train R(2+1)D on ucf101 from RotNet C3 + VCOP C1 on k400[:16]"
    assert {item.title for item in own if len(item.used_by) == 1} == {
        f"{teachers} (ca-mkd), seed 0",
        "CKA of student on ucf101 in weightings at weighting equal, seed 0",
    }


def test_its_results_make_a_table_figures_and_verdicts_like_those_of_the_others(
    plan: Plan, in_tmp: Path
) -> None:
    (record,) = (r for r in plan.records if r.experiment == "weightings")
    for cell in record.cells:
        if not cell.role.startswith("map:"):
            accuracy = ACCURACY[cell.case["weighting"]] if cell.role == "student" else 0.5
            write_results(RunFolder(in_tmp / "runs" / cell.run_id), accuracy)
    # The others take seconds to draw, and have no results.
    for path in (in_tmp / "runs" / "plans").iterdir():
        if not path.name.startswith("weightings."):
            path.unlink()
    summary = build_report(in_tmp / "runs", to=in_tmp / "report")
    report = json.loads(summary.data.read_text())
    (table,) = (t for t in report["tables"] if t["table"] == "table7")
    students = [n for n in table["numbers"] if n["role"] == "student"]
    means = {number["case"]["weighting"]: number["mean"] for number in students}
    assert means == {weighting: 100 * accuracy for weighting, accuracy in ACCURACY.items()}
    own_claims = [c for c in report["claims"] if c["experiment"] == "weightings"]
    verdicts = {checked["claim"]["id"]: checked["verdict"] for checked in own_claims}
    assert verdicts == {"ae_kd_best": "one-seed", "above_labels": "one-seed"}
    assert "Three ways to weigh teachers" in summary.page.read_text(encoding="utf-8")
    assert [line.split(", ")[1] for line in summary.missing] == [
        "pretrain R(2+1)D by RotNet C3 on k400[:16]",
        "pretrain R(2+1)D by VCOP C1 on k400[:16]",
        "CKA of student on ucf101 in weightings at weighting equal",
    ]
    figure = in_tmp / "report" / "figures" / "table7_accuracy.png"
    assert figure.stat().st_size > 1000
    for kind in ("md", "csv", "tex"):
        assert (in_tmp / "report" / "tables" / f"table7.{kind}").stat().st_size > 100
