"""A fifth experiment is one file beside the four: no code knows their names."""

import json
import shutil
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
from kdbatch.vocab.plans import Plan
from kdbatch.vocab.runs import RunFolder

FIFTH = """\
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
student: {title: Student, backbone: r21d_10, target: ucf101, teachers: [T1, T2], weighting: $weighting}
controls:
  labels_only: {title: Labels only, teachers: [], weighting: none}
tables:
  - {id: table5, title: Accuracy by weighting, rows: [T1, T2, student, labels_only], columns: [weighting]}
maps:
  - {id: cka_equal, title: Student of equal teachers, models: [student], at: {weighting: equal}}
claims:
  - {id: ae_kd_best, says: AE-KD weighs best., kind: best_at, who: student, axis: weighting, value: ae-kd}
  - {id: above_labels, says: Students are above labels alone., kind: beats, who: student, than: [labels_only], control: true}
"""
ACCURACY = {"equal": 0.7, "ae-kd": 0.9, "ca-mkd": 0.6}


@pytest.fixture
def planned(sharded, in_tmp: Path) -> Plan:
    """The five files in a folder, planned together at the profile micro."""
    config = sharded(k400=16, ssv2=16, ucf101=96)
    shutil.copytree(JOBS, in_tmp / "jobs")
    (in_tmp / "jobs" / "weightings.yaml").write_text(FIFTH)
    plan = make_plan(sorted((in_tmp / "jobs").glob("*.yaml")), profile="micro", config=config)
    write_runs(plan, config=config)
    return plan


def _finish(folder: RunFolder, accuracy: float) -> None:
    """Leave what the report reads of a finished network."""
    hit_N = make_correct(folder.id, "", 0, num_videos=200, accuracy=accuracy)
    write_measures(
        folder.rows,
        folder.id,
        [Measure(name="top1", value=100 * accuracy, unit="percent")],
        schema=ROWS,
    )
    rows = [
        {
            "run_id": folder.id,
            "key": f"v{i}",
            "label": 0,
            "place": 1 - hit,
            "probability_K": [hit, 1 - hit],
            "logit_K": [hit, 1 - hit],
        }
        for i, hit in enumerate(hit_N.astype(int).tolist())
    ]
    write_table(folder.predictions, rows, schema=PREDICTIONS)
    write_json(folder.done, {"kind": "distill", "seconds": 1.0})


def test_it_is_planned_with_the_others_and_shares_their_runs(planned: Plan) -> None:
    assert len(planned.records) == 5
    own = [item for item in planned.runs if "weightings" in item.used_by]
    shared = [item.title for item in own if len(item.used_by) > 1]
    assert (
        "pretrain R(2+1)D by RotNet C3 on k400[:16], seed 0" in shared
        and "train R(2+1)D on ucf101 from labels only, seed 0" in shared
    )
    alone = {item.title for item in own if len(item.used_by) == 1}
    assert alone == {
        *(
            f"train R(2+1)D on ucf101 from RotNet C3 + VCOP C1 on k400[:16] ({w}), seed 0"
            for w in ("equal", "ca-mkd")
        ),
        "CKA of student on ucf101, seed 0",
    }


def test_its_results_make_a_table_figures_and_verdicts_like_those_of_the_four(
    planned: Plan, in_tmp: Path
) -> None:
    (record,) = (r for r in planned.records if r.experiment == "weightings")
    for cell in record.cells:
        if not cell.role.startswith("map:"):
            accuracy = ACCURACY[cell.case["weighting"]] if cell.role == "student" else 0.5
            _finish(RunFolder(in_tmp / "runs" / cell.run_id), accuracy)
    for other in (
        in_tmp / "runs" / "plans"
    ).iterdir():  # the other four take seconds to draw, and have nothing to show
        if not other.name.startswith("weightings."):
            other.unlink()
    made = build_report(in_tmp / "runs", to=in_tmp / "report")
    report = json.loads(made.data.read_text())
    (table,) = (t for t in report["tables"] if t["table"] == "table5")
    means = {(n["role"], n["case"]["weighting"]): n["mean"] for n in table["numbers"]}
    assert {w: means["student", w] for w in ACCURACY} == {w: 100 * a for w, a in ACCURACY.items()}
    verdicts = {
        c["claim"]["id"]: c["verdict"] for c in report["claims"] if c["experiment"] == "weightings"
    }
    assert verdicts == {"ae_kd_best": "holds", "above_labels": "holds"}
    page = made.page.read_text(encoding="utf-8")
    assert (
        "Three ways to weigh teachers" in page
        and (in_tmp / "report" / "figures" / "table5_accuracy.png").stat().st_size > 1000
    )
    assert [line.split(", ")[1] for line in made.missing] == [
        "pretrain R(2+1)D by RotNet C3 on k400[:16]",
        "pretrain R(2+1)D by VCOP C1 on k400[:16]",
        "CKA of student on ucf101",
    ]
    assert all(
        (in_tmp / "report" / "tables" / f"table5.{kind}").stat().st_size > 100
        for kind in ("md", "csv", "tex")
    )
