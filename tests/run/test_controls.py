"""Controls of a small study, trained on real videos in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support import targets
from support.targets import run_of

from kdbatch.result.read import read_cka, read_curves, read_rows
from kdbatch.run.heartbeat import StopSignal
from kdbatch.run.main import main
from kdbatch.run.weights import new_classifier
from kdbatch.vocab.attempts.exit_rules import EXIT_DONE
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.runs.run import Run

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("controls")]

EXPERIMENT = f"""\
{targets.HEAD}controls:
  labels_only: {{title: Labels only, teachers: []}}
  smoothed: {{title: Smoothed labels, soft_target: smoothed-labels}}
  pretrained: {{title: Pretrained, starts_from: T1}}
  T1_longer: {{title: T1 for longer, teachers: [], starts_from: T1}}
  equal_accuracy: {{title: Equal accuracy, accuracy_of: labels_only}}
tables:
  - id: accuracy
    title: Accuracy
    rows: [T1, student, labels_only, smoothed, pretrained, T1_longer, equal_accuracy]
    columns: [target]
maps:
  - id: before
    title: Before
    models: [student]
    at: {{target: ucf101}}
    untrained: true
    layers: res
  - {{id: after, title: After, models: [equal_accuracy], at: {{target: ucf101}}, layers: res}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("controls")
    targets.write_world(path)
    (path / "jobs" / "small.yaml").write_text(EXPERIMENT)
    profile = path / "jobs" / "profiles" / "tiny.yaml"
    profile.write_text(
        profile.read_text().replace("distill: {epochs: 3", "distill: {epochs: 6")
        + "compare: {num_clips: 8, batch_clips: 4}\n"
    )
    return path


@pytest.fixture(scope="module")
def plan(folder: Path) -> Iterator[Plan]:
    yield from targets.finished_plan(folder)


def rows_of(folder: Path, run: Run) -> dict[str, float]:
    frame = read_rows(folder / "runs", [run.id]).frame
    return dict(zip(frame["name"].to_list(), frame["value"].to_list(), strict=True))


def curve_of(folder: Path, run: Run, name: str) -> list[float]:
    frame = read_curves(folder / "runs", [run.id], names=[name]).frame.sort("step")
    return frame["value"].to_list()


def weights_of(folder: Path, run: Run) -> dict[str, torch.Tensor]:
    return load_file(folder / "runs" / run.id / "model.safetensors")


def test_every_control_is_measured(folder: Path, plan: Plan) -> None:
    for role in ("smoothed", "pretrained", "T1_longer", "equal_accuracy"):
        assert {"top1", "held_out_top1", "best_epoch"} <= set(rows_of(folder, run_of(plan, role)))
    # the measures of an ensemble are those of the teachers, and not of other parents
    ensemble = {
        rows_of(folder, run_of(plan, role))["teacher_ensemble_top1"]
        for role in ("student", "smoothed", "pretrained", "equal_accuracy")
    }
    assert len(ensemble) == 1
    assert "teacher_ensemble_top1" not in rows_of(folder, run_of(plan, "T1_longer"))


def test_smoothed_labels_take_another_course_than_the_teachers(folder: Path, plan: Plan) -> None:
    student, smoothed = run_of(plan, "student"), run_of(plan, "smoothed")
    shares = curve_of(folder, smoothed, "label_smoothing")
    assert len(shares) == 6 and all(0 < share < 1 for share in shares)
    assert not curve_of(folder, student, "label_smoothing")
    assert curve_of(folder, student, "soft") != curve_of(folder, smoothed, "soft")


def test_a_student_starts_from_the_pretrained_weights(
    folder: Path, plan: Plan, tmp_path: Path
) -> None:
    """With a rate of 1e-10 a training ends about where it started."""
    student = run_of(plan, "pretrained")
    assert isinstance(student.recipe, Distill)
    schedule = targets.changed(student.recipe.schedule, lr=1e-10, epochs=1)
    still = targets.with_recipe(student, schedule=schedule, selection=None)
    place = targets.prepare(folder, still)
    assert main([str(place.path)], stop=StopSignal()) == EXIT_DONE
    (pretrained,) = student.pretrained
    start = load_file(folder / "runs" / pretrained / "model.safetensors")
    end = weights_of(folder, still)
    trained = [name for name in start if name.endswith("weight")]
    assert trained
    for name in trained:
        assert torch.allclose(end[f"backbone.{name}"], start[name], atol=1e-6), name
    log = (place.path / "log.txt").read_text() if (place.path / "log.txt").exists() else ""
    assert not log or f"starts from {pretrained}" in log


def test_the_epoch_of_equal_accuracy_is_the_students_epoch_that_is_nearest(
    folder: Path, plan: Plan
) -> None:
    labels_only, student, equal = (
        run_of(plan, role) for role in ("labels_only", "student", "equal_accuracy")
    )
    wanted = rows_of(folder, labels_only)["held_out_top1"]
    of_student = [100 * share for share in curve_of(folder, student, "held_out_accuracy")]
    of_equal = [100 * share for share in curve_of(folder, equal, "held_out_accuracy")]
    assert of_equal == of_student  # the same training
    distances = [abs(share - wanted) for share in of_equal]
    found = rows_of(folder, equal)
    assert found["best_epoch"] == 1 + distances.index(min(distances))
    assert abs(found["held_out_top1"] - wanted) == pytest.approx(min(distances))


def test_an_untrained_map_is_that_of_the_weights_that_the_student_starts_from(
    folder: Path, plan: Plan
) -> None:
    before, after = run_of(plan, "map:before"), run_of(plan, "map:after")
    maps = {run.id: read_cka(folder / "runs", [run.id]).frame for run in (before, after)}
    assert maps[before.id].height == maps[after.id].height > 0
    assert maps[before.id]["layer_a"].to_list() == maps[after.id]["layer_a"].to_list()
    assert maps[before.id]["value"].to_list() != maps[after.id]["value"].to_list()
    assert "block_index" in rows_of(folder, before)
    recipe = before.recipe
    assert isinstance(recipe, Compare) and recipe.untrained
    weights = new_classifier(recipe.untrained, recipe.data, seed=before.seed).state_dict()
    student = run_of(plan, "student").recipe
    assert isinstance(student, Distill)
    own = new_classifier(student.backbone, student.data, seed=0).state_dict()
    assert all(torch.equal(weights[name], own[name]) for name in own)
