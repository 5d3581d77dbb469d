"""Tables and claims of several folds: their mean where all of them are there."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from support.reports import make_correct

from kdbatch.base.atomic_write import write_json
from kdbatch.launch.run_folders import write_runs
from kdbatch.plan.resolve import make_plan
from kdbatch.report.build import build_report
from kdbatch.report.stats.bootstrap import resample
from kdbatch.result.schema import PREDICTIONS, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import RunFolder

PROFILE = """\
seeds: [0, 1, 2]
folds: {ucf101: [1, 2, 3]}
clip: {num_frames: 8, size_pixels: 32}
pretrain: {epochs: 1, batch_clips: 8}
finetune: {epochs: 2, batch_clips: 8, lr: 0.02}
distill: {epochs: 3, batch_clips: 8, lr: 0.02}
"""
EXPERIMENT = """\
name: mine
title: Mine
vary: {target: [ucf101]}
teachers:
  T1: {title: T1, backbone: r21d_10, target: $target}
student:
  title: Student
  backbone: r21d_10
  target: $target
  teachers: [T1]
controls:
  labels_only: {title: Labels only, teachers: []}
tables:
  - {id: t, title: t, rows: [T1, student, labels_only], columns: [target]}
claims:
  - {id: above, says: c, kind: beats, who: student, than: [T1]}
  - {id: gain, says: g, kind: agrees_with_published, who: student, than: [T1], points: 20, videos: 400}
"""  # noqa: E501
ACCURACY = {"T1": (0.5, 0.4, 0.3), "student": (0.7, 0.8, 0.9), "labels_only": (0.5, 0.5, 0.5)}
NUM_VIDEOS = 200

WriteRun = Callable[[str, int, int], None]


@pytest.fixture
def plan(sharded: Callable[..., Config], in_tmp: Path) -> Plan:
    config = sharded(ucf101=96)
    (in_tmp / "jobs" / "profiles").mkdir(parents=True)
    (in_tmp / "jobs" / "mine.yaml").write_text(EXPERIMENT)
    (in_tmp / "jobs" / "profiles" / "small.yaml").write_text(PROFILE)
    plan = make_plan([Path("jobs/mine.yaml")], profile="small", config=config)
    write_runs(plan, config=config)
    return plan


def write_results(plan: Plan, *, folds: tuple[int, ...]) -> None:
    for cell in plan.records[0].cells:
        if cell.fold not in folds:
            continue
        folder, accuracy = RunFolder(Path("runs") / cell.run_id), ACCURACY[cell.role][cell.fold - 1]
        where = f"ucf101/test{cell.fold:02d}"
        top1 = Measure(name="top1", value=100 * accuracy, unit="percent", subset=where)
        write_measures(folder.rows, folder.id, [top1], schema=ROWS)
        correct_N = make_correct(folder.id, "", cell.seed, num_videos=NUM_VIDEOS, accuracy=accuracy)
        rows = []
        for i, is_correct in enumerate(correct_N.astype(int).tolist()):
            scores = [is_correct, 1 - is_correct]
            key = f"f{cell.fold}v{i}"
            row = {"run_id": folder.id, "key": key, "group": key, "label": 0}
            row |= {"place": 1 - is_correct, "probability_K": scores, "logit_K": scores}
            rows.append(row)
        write_table(folder.predictions, rows, schema=PREDICTIONS)
        write_json(folder.done, {"kind": "distill", "seconds": 1.0})


def report_of(in_tmp: Path) -> dict[str, Any]:
    return json.loads(build_report(in_tmp / "runs", to=in_tmp / "report").data.read_text())


def numbers_of(report: dict[str, Any]) -> dict[str, tuple[float | None, int]]:
    numbers = report["tables"][0]["numbers"]
    return {n["role"]: (n["mean"], n["seeds_done"]) for n in numbers if n["group"] != "ensemble"}


def test_a_table_has_the_mean_of_three_folds_where_all_are_there(plan: Plan, in_tmp: Path) -> None:
    write_results(plan, folds=(1, 2))
    assert set(numbers_of(report_of(in_tmp)).values()) == {(None, 0)}
    write_results(plan, folds=(1, 2, 3))
    found = numbers_of(report_of(in_tmp))
    for role, accuracies in ACCURACY.items():
        assert found[role] == (pytest.approx(100 * sum(accuracies) / 3), 3)
    text = (in_tmp / "report" / "tables" / "t.md").read_text()
    assert "Each seed: mean of folds 1, 2, 3." in text


def test_a_caption_names_the_targets_whose_numbers_are_of_other_folds(
    sharded: Callable[..., Config], in_tmp: Path
) -> None:
    config = sharded(ucf101=96, hmdb51=96)
    (in_tmp / "jobs" / "profiles").mkdir(parents=True)
    experiment = EXPERIMENT.replace("target: [ucf101]}", "target: [ucf101, hmdb51]}")
    (in_tmp / "jobs" / "mine.yaml").write_text(experiment)
    profile = in_tmp / "jobs" / "profiles" / "small.yaml"
    captions = []
    for folds in ("{hmdb51: [1, 2, 3]}", "{hmdb51: [2, 3], ucf101: [2]}", "{hmdb51: [1]}"):
        profile.write_text(PROFILE.replace("{ucf101: [1, 2, 3]}", folds))
        write_runs(
            make_plan([Path("jobs/mine.yaml")], profile="small", config=config), config=config
        )
        build_report(in_tmp / "runs", to=in_tmp / "report")
        captions.append((in_tmp / "report" / "tables" / "t.md").read_text())
    assert " HMDB51, each seed: mean of folds 1, 2, 3." in captions[0]
    assert "UCF101, " not in captions[0]
    assert " UCF101, fold 2. HMDB51, each seed: mean of folds 2, 3." in captions[1]
    assert "fold" not in captions[2]


def test_every_measured_number_has_its_fold(plan: Plan, in_tmp: Path) -> None:
    write_results(plan, folds=(1, 2, 3))
    build_report(in_tmp / "runs", to=in_tmp / "report")
    rows = pl.read_parquet(in_tmp / "report" / "results.parquet").filter(name="top1")
    of_student = rows.filter(role="student", seed=0)
    assert dict(zip(of_student["fold"], of_student["subset"], strict=True)) == {
        fold: f"ucf101/test{fold:02d}" for fold in (1, 2, 3)
    }
    assert rows["fold"].null_count() == 0


def test_a_claim_compares_the_mean_of_folds_and_published_numbers_the_first(
    plan: Plan, in_tmp: Path
) -> None:
    write_results(plan, folds=(1, 2, 3))
    claims = {c["claim"]["id"]: c for c in report_of(in_tmp)["claims"]}
    (above,) = claims["above"]["comparisons"]
    assert above["effect"] == pytest.approx(40)  # of 20, 40 and 60 points
    assert above["num_videos"] == 3 * NUM_VIDEOS and above["num_seeds"] == 3
    assert claims["above"]["verdict"] == "holds"
    (gain,) = claims["gain"]["comparisons"]
    assert gain["effect"] == pytest.approx(20) and gain["num_videos"] == NUM_VIDEOS
    for name in ("mine_gains", "mine_errors"):
        assert (in_tmp / "report" / "figures" / f"{name}.png").stat().st_size > 1000


def test_folds_that_share_groups_share_their_draws() -> None:
    """The folds of HMDB51 test the same films: with independent draws an interval is too narrow."""
    rng = np.random.default_rng(0)
    group = [f"g{i % 30:02d}" for i in range(120)]
    right_N = rng.random(30).repeat(4)[np.argsort(np.argsort(group, kind="stable"))] < 0.5
    names = sorted({*group, "only in another fold"})
    draws = [
        resample({"r": right_N}, groups=group, all_groups=names, seed=5).replicates["r"]
        for _ in range(2)
    ]
    assert np.array_equal(draws[0], draws[1])
    apart = resample({"r": right_N}, groups=group, seed=6).replicates["r"]
    together, alone = np.std((draws[0] + draws[1]) / 2), np.std((draws[0] + apart) / 2)
    assert together == pytest.approx(np.std(apart), rel=0.05) and alone < 0.8 * together


def test_groups_of_other_folds_count_no_videos_here() -> None:
    group = ["b", "d", "d", "b"]
    right_N = np.array([True, False, True, True])
    found = resample({"r": right_N}, groups=group, all_groups=list("abcde"), seed=0)
    assert found.accuracy["r"] == 75 and found.num_groups["r"] == 2
    drawn_R = found.replicates["r"]
    assert ((drawn_R == 0) | ((drawn_R >= 50) & (drawn_R <= 100))).all()  # 0: none was drawn
