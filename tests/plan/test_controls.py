"""Controls that start from pretrained weights, learn smoothed labels or stop at an accuracy."""

from pathlib import Path

import pytest

from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.runs.run import Run

PROFILE = """\
seeds: [3]
clip: {num_frames: 8, size_pixels: 32}
pretrain: {epochs: 1, batch_clips: 8}
finetune: {epochs: 2, batch_clips: 8, lr: 0.02}
distill: {epochs: 3, batch_clips: 8, lr: 0.02}
linear: {epochs: 1, batch_clips: 8, lr: 0.02}
selection: {ucf101: {share: 0.2}}
compare: {num_clips: 8, batch_clips: 4}
"""
EXPERIMENT = """\
name: mine
title: Mine
vary: {target: [ucf101]}
teachers:
  T1:
    title: T1
    backbone: shufflenet_2x
    pretrain: {task: rotnet, complexity: 1, dataset: k400, subset: 10k}
    target: $target
  T2: {title: T2, backbone: r21d_10, target: $target}
student:
  title: Student
  backbone: shufflenet_2x
  target: $target
  teachers: [T1, T2]
controls:
  labels_only: {title: Labels only, teachers: []}
  smoothed: {title: Smoothed, soft_target: smoothed-labels}
  pretrained: {title: Pretrained, starts_from: T1}
  T1_longer: {title: Longer, teachers: [], starts_from: T1}
  equal_accuracy: {title: Equal, accuracy_of: labels_only}
  both: {title: Both, starts_from: T1, accuracy_of: labels_only}
probes: [retrieval, linear]
tables:
  - {id: t, title: t, rows: [T1, T1.linear, student, equal_accuracy], columns: [target]}
  - {id: r, title: r, rows: [T1.retrieval], columns: [target], metric: recall_at_1}
maps:
  - {id: before, title: Before, models: [student], at: {target: ucf101}, untrained: true}
  - {id: after, title: After, models: [equal_accuracy], at: {target: ucf101}}
claims:
  - {id: c, says: c, kind: beats, who: T1.linear, than: [T1]}
  - {id: m, says: m, kind: fewer_blocks_than, who: after, than: [before]}
"""


@pytest.fixture
def jobs(sharded, in_tmp: Path) -> Path:
    sharded(k400=20_000, ucf101=13_320)
    folder = in_tmp / "jobs"
    (folder / "profiles").mkdir(parents=True)
    (folder / "mine.yaml").write_text(EXPERIMENT)
    (folder / "profiles" / "small.yaml").write_text(PROFILE)
    return folder


def plan_of(jobs: Path, *changes: tuple[str, str], profile: str = "") -> Plan:
    text = (jobs / "mine.yaml").read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    (jobs / "mine.yaml").write_text(text)
    (jobs / "profiles" / "small.yaml").write_text(PROFILE + profile)
    return make_plan([jobs / "mine.yaml"], profile="small", config=Config(), has_gpus=False)


def runs_by_role(plan: Plan) -> dict[str, Run]:
    runs = {item.run.id: item.run for item in plan.runs}
    return {cell.role: runs[cell.run_id] for cell in plan.records[0].cells}


def recipe(run: Run) -> Distill:
    assert isinstance(run.recipe, Distill)
    return run.recipe


def test_parents_are_teachers_then_the_pretraining_then_the_student_of_equal_accuracy(
    jobs: Path,
) -> None:
    runs = runs_by_role(plan_of(jobs))
    teachers = (runs["T1"].id, runs["T2"].id)
    pretraining, labels_only = runs["T1"].parents, (runs["labels_only"].id,)
    for role, parts in {
        "student": (teachers, (), ()),
        "smoothed": (teachers, (), ()),
        "labels_only": ((), (), ()),
        "pretrained": (teachers, pretraining, ()),
        "T1_longer": ((), pretraining, ()),
        "equal_accuracy": (teachers, (), labels_only),
        "both": (teachers, pretraining, labels_only),
    }.items():
        run = runs[role]
        assert (run.teachers, run.pretrained, run.equal_to) == parts, role
        assert run.parents == sum(parts, ()) and run.seed == 3


def test_controls_differ_from_the_student_in_what_they_are_named_for(jobs: Path) -> None:
    runs = runs_by_role(plan_of(jobs))
    student = recipe(runs["student"])
    for role, changed in {
        "smoothed": {"soft_target": "smoothed-labels"},
        "pretrained": {"start": "pretrained"},
        "equal_accuracy": {"kept_epoch": "equal-accuracy"},
        "both": {"kept_epoch": "equal-accuracy", "start": "pretrained"},
    }.items():
        assert vars(recipe(runs[role])) == vars(student) | changed, role
    longer = recipe(runs["T1_longer"])
    assert vars(longer) == vars(recipe(runs["labels_only"])) | {"start": "pretrained"}
    assert longer.schedule == student.schedule  # and not that of fine-tuning


def test_titles_tell_the_controls_apart(jobs: Path) -> None:
    plan = plan_of(jobs)
    titles = {item.title for item in plan.runs}
    assert len(titles) == len(plan.runs)
    taught = "train ShuffleNet on ucf101 from RotNet C1 on k400[:10k] + R(2+1)D random weights"
    assert titles >= {
        f"{taught} (ae-kd, smoothed labels), seed 3",
        f"{taught} (ae-kd, starts from RotNet C1 on k400[:10k]), seed 3",
        "train ShuffleNet on ucf101 from labels only (starts from RotNet C1 on k400[:10k]), seed 3",
        f"{taught} (ae-kd, accuracy of labels_only), seed 3",
        "CKA of untrained student on ucf101 in mine, seed 3",
    }


def test_an_untrained_map_has_the_roles_network_and_no_parents(jobs: Path) -> None:
    runs = runs_by_role(plan_of(jobs))
    before, after = runs["map:before"], runs["map:after"]
    assert isinstance(before.recipe, Compare) and isinstance(after.recipe, Compare)
    assert before.recipe.untrained == Backbone(kind="shufflenet_2x") and before.parents == ()
    assert after.recipe.untrained is None and after.parents == (runs["equal_accuracy"].id,)


@pytest.mark.parametrize(("row", "targets"), [("", {"ucf101"}), ("both, ", {"ucf101", "hmdb51"})])
def test_a_control_that_only_maps_name_is_trained_in_their_cases_alone(
    sharded, jobs: Path, row: str, targets: set[str]
) -> None:
    sharded(k400=20_000, ucf101=13_320, hmdb51=6766)
    text = EXPERIMENT.replace("[ucf101]}\nteachers", "[ucf101, hmdb51]}\nteachers")
    text = text.replace("student, equal_accuracy]", f"{row}student, equal_accuracy]")
    drawn = "{id: drawn, title: Drawn, models: [both], at: {target: ucf101}}"
    (jobs / "mine.yaml").write_text(text.replace("claims:", f"  - {drawn}\nclaims:"))
    held_out = "selection: {ucf101: {share: 0.2}, hmdb51: {share: 0.2}}\n"
    profile = jobs / "profiles" / "small.yaml"
    profile.write_text(f"{PROFILE}folds: {{ucf101: [1, 2]}}\n")
    profile.write_text(profile.read_text().replace("selection: {ucf101: {share: 0.2}}\n", held_out))
    (record,) = make_plan([jobs / "mine.yaml"], profile="small", config=Config()).records
    assert {c.case["target"] for c in record.cells if c.role == "both"} == targets
    assert {c.fold for c in record.cells if c.role == "both"} == ({1, 2} if row else {1})
    # named by no map, or by a table
    for role in ("smoothed", "equal_accuracy"):
        assert {c.case["target"] for c in record.cells if c.role == role} == {"ucf101", "hmdb51"}


def test_every_kind_of_control_has_a_cost(jobs: Path) -> None:
    plan = plan_of(jobs)
    hours = {item.run.id: item.cost.device_hours for item in plan.runs}
    of = {role: hours[run.id] for role, run in runs_by_role(plan).items()}
    assert of["smoothed"] == of["pretrained"] == of["equal_accuracy"] == of["student"]
    assert of["T1_longer"] == of["labels_only"] < of["student"]
    assert of["map:before"] == of["map:after"] > 0


def test_a_profile_leaves_out_probes_with_what_names_them(jobs: Path) -> None:
    (record,) = plan_of(jobs, profile="leave_out: [linear]\n").records
    assert "T1.linear" not in record.roles and "T1.retrieval" in record.roles
    assert record.tables[0].rows == ("T1", "student", "equal_accuracy")
    assert [claim.id for claim in record.claims] == ["m"]
    (record,) = plan_of(jobs, profile="leave_out: [linear, retrieval]\n").records
    assert [table.id for table in record.tables] == ["t"]


def test_a_control_goes_with_the_one_whose_accuracy_it_has(jobs: Path) -> None:
    (record,) = plan_of(jobs, profile="leave_out: [labels_only]\n").records
    assert {"labels_only", "equal_accuracy", "both"}.isdisjoint(record.roles)
    assert [drawn.id for drawn in record.maps] == ["before"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("starts_from: T1}", "starts_from: T3}"), r"starts_from: no 'T3'"),
        (
            ("starts_from: T1}", "starts_from: T2}"),
            "starts_from: T2 has no pretrain, so there are no weights to start from",
        ),
        (
            ("Longer, teachers: []", "Longer, backbone: r21d_10, teachers: []"),
            "T1_longer.starts_from: T1 is shufflenet_2x, and the student is r21d_10. Name a",
        ),
        (("accuracy_of: labels_only}", "accuracy_of: label_only}"), "Did you mean 'labels_only'"),
        (
            ("Equal, accuracy_of: labels_only", "Equal, accuracy_of: both"),
            "equal_accuracy.accuracy_of: both has accuracy_of itself",
        ),
        (
            ("soft_target: smoothed-labels", "soft_target: smooth"),
            "smoothed.soft_target: found 'smooth'",
        ),
        (
            ("Smoothed,", "Smoothed, weighting: ca-mkd, feature_weight: 50.0,"),
            "feature_weight: found 50 with soft_target: smoothed-labels",
        ),
        (
            ("models: [student], at", "models: [student, T1], at"),
            "maps.before.models: an untrained map has one role",
        ),
    ],
)
def test_a_mistake_is_one_line(jobs: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        plan_of(jobs, change)
    assert "\n" not in str(caught.value)


def test_an_accuracy_needs_held_out_videos(jobs: Path) -> None:
    (jobs / "profiles" / "none.yaml").write_text(
        PROFILE.replace("selection: {ucf101: {share: 0.2}}\n", "")
    )
    message = (
        r"equal_accuracy.accuracy_of: accuracies are compared on held-out videos, and the profile "
        r"holds none of ucf101 out. Add to it selection: \{ucf101: .* leave_out: \[equal_accuracy\]"
    )
    with pytest.raises(UserError, match=message):
        make_plan([jobs / "mine.yaml"], profile="none", config=Config())
