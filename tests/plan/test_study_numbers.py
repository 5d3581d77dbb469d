"""The profile `paper` has every number that the study states, and those of its sources."""

import pytest
from support.inputs import JOBS

from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.tasks.cvrl import CVRL
from kdbatch.vocab.tasks.prp import PRP
from kdbatch.vocab.tasks.rotnet import RotNet
from kdbatch.vocab.tasks.rspnet import RSPNet
from kdbatch.vocab.tasks.tdl import TDL
from kdbatch.vocab.tasks.vcop import VCOP

FILES = sorted(JOBS.glob("*.yaml"))


@pytest.fixture
def plan(sharded) -> Plan:
    return make_plan(
        FILES,
        profile="paper",
        config=sharded(k400=240_000, ssv2=168_000, ucf101=13_320, hmdb51=6766),
    )


def _pretrain_recipes(plan: Plan, experiment: str) -> list[Pretrain]:
    recipes = [item.run.recipe for item in plan.runs if experiment in item.used_by]
    return [recipe for recipe in recipes if isinstance(recipe, Pretrain)]


def test_clips_schedules_and_seeds(plan: Plan) -> None:
    recipes = [r for item in plan.runs if not isinstance(r := item.run.recipe, Import)]
    assert {(r.view.num_frames, r.view.size_pixels) for r in recipes} == {(16, 112)}
    students = [item.run for item in plan.runs if item.run.recipe.kind == "distill"]
    assert {run.seed for run in students} == {0, 1, 2}
    # a student of three seeds also has teachers of the next two
    assert {item.run.seed for item in plan.runs} == {0, 1, 2, 3, 4}
    assert {r.schedule.epochs for r in recipes if isinstance(r, Pretrain)} == {200}
    assert {r.schedule.epochs for r in recipes if isinstance(r, Finetune)} == {100}
    assert {r.evaluation.num_clips for r in recipes if isinstance(r, Finetune | Distill)} == {10}
    assert {r.num_clips for r in recipes if isinstance(r, Compare)} == {1024}


def test_students_are_distilled_as_ae_kd_does(plan: Plan) -> None:
    """Students, but for those with equal weights; two experiments change the recipe."""
    changed = (("recipe",), ("methods",))
    runs = [item.run for item in plan.runs if item.used_by not in changed]
    recipes = {run.recipe for run in runs if run.teachers}
    students = [r for r in recipes if isinstance(r, Distill) and r.weighting != "equal"]
    for r in students:
        assert (r.weighting, r.temperature, r.hard_weight) == ("ae-kd", 4, 1)
        assert (r.soft_weight, r.max_teacher_weight) == (0.9, 0.6)
    (schedule,) = {r.schedule for r in students}
    assert (schedule.epochs, schedule.batch_clips, schedule.lr) == (240, 64, 0.05)
    assert (schedule.momentum, schedule.weight_decay) == (0.9, 5e-4)
    assert (schedule.decay, schedule.decay_factor) == ("steps", 0.1)
    assert [share * 240 for share in schedule.milestones] == [150, 180, 210]


def test_subsets_of_each_experiment(plan: Plan) -> None:
    thousands = {}
    for path in FILES:
        subsets = {recipe.data for recipe in _pretrain_recipes(plan, path.stem)}
        thousands[path.stem] = {(s.dataset, s.num_places // 1000) for s in subsets}
    assert thousands == {
        "subset_size": {("k400", n) for n in (10, 30, 50, 100)},
        "task_complexity": {("k400", 50)},
        "out_of_distribution": {("k400", 30), ("ssv2", 30)},
        "pretext_categories": {("k400", 50)},
        "methods": {("k400", 50)},
        "recipe": {("k400", 30)},
    }


def test_networks_of_each_experiment(plan: Plan) -> None:
    networks = {
        path.stem: {r.backbone.kind for r in _pretrain_recipes(plan, path.stem)} for path in FILES
    }
    both = {"r21d_10", "shufflenet_2x"}
    assert networks == {
        "subset_size": both,
        "task_complexity": both,
        "out_of_distribution": {"r21d_10"},
        "pretext_categories": both,
        "methods": {"shufflenet_2x"},
        "recipe": both,
    }


def test_parameters_of_tasks(plan: Plan) -> None:
    recipes = [r for path in FILES for r in _pretrain_recipes(plan, path.stem)]
    tasks = {(r.task.name, r.task.complexity): r.task for r in recipes}
    names = ("rotnet", "vcop", "prp", "rspnet")
    at_three = {key: task for key, task in tasks.items() if key[0] in names}
    assert len(at_three) == 12
    for (_, complexity), task in at_three.items():
        match task:
            case RotNet():
                assert len(task.quarters) == complexity + 1
            case VCOP():
                assert (task.num_clips, task.gap_frames) == (complexity + 2, 8)
                assert (task.dropout, task.hidden_dim) == (0.5, 512)
                assert task.window_frames(16) == {1: 64, 2: 88, 3: 112}[complexity]
            case PRP():
                assert task.rates == (1, 2, 4, 8)[: complexity + 1]
                assert task.window_frames(16) == 16 * 2**complexity
            case RSPNet():
                assert (task.queue_size, task.embedding_dim) == (16384, 128)
                assert (task.temperature, task.key_momentum) == (0.07, 0.999)
                assert task.window_frames(16) == 16 * 2**complexity
    tdl, cvrl = tasks["tdl", 3], tasks["cvrl", 2]
    assert isinstance(tdl, TDL) and isinstance(cvrl, CVRL)
    assert (tdl.queue_size, tdl.temperature, tdl.key_momentum) == (500, 0.07, 0.999)
    assert (cvrl.temperature, cvrl.num_hidden, cvrl.hidden_dim) == (0.1, 3, 2048)


def test_the_out_of_distribution_experiment_has_four_tasks_and_claims_have_their_points(
    plan: Plan,
) -> None:
    recipes = _pretrain_recipes(plan, "out_of_distribution")
    assert {r.task.name for r in recipes} == {"rotnet", "vcop", "cvrl", "rspnet"}
    claims = [claim for record in plan.records for claim in record.claims]
    points = {claim.id: claim.points for claim in claims if claim.points}
    assert points == {
        "gain_rotnet": 20.45,
        "gain_vcop": 12.55,
        "noncontrastive_margin": 39.2,
        "contrastive_margin": 1.5,
        "r21d_noncontrastive_margin": 39.2,
        "r21d_contrastive_margin": 1.5,
    }
    (test_videos,) = {claim.videos for claim in claims if claim.points}
    assert test_videos == DATASETS["ucf101"].num_videos["test01"]


def test_outside_task_complexity_every_task_is_at_the_complexity_of_its_paper(plan: Plan) -> None:
    papers = {"rotnet": 3, "vcop": 1, "prp": 3, "cvrl": 2, "tdl": 3, "rspnet": 1}
    for experiment in (
        "methods",
        "out_of_distribution",
        "pretext_categories",
        "recipe",
        "subset_size",
    ):
        assert {
            papers[r.task.name] == r.task.complexity for r in _pretrain_recipes(plan, experiment)
        } == {True}


def test_only_the_experiment_with_two_sources_is_on_the_timeline_that_both_have(plan: Plan) -> None:
    for item in plan.runs:
        is_there = item.used_by == ("out_of_distribution",)
        recipe = item.run.recipe
        assert not isinstance(recipe, Import)
        view = recipe.view
        assert (view.fps, view.stride_frames) == ((12.0, 1) if is_there else (24.0, 1))
        assert item.title.partition(", seed")[0].endswith(" at 12 fps") == is_there


def test_cvrl_has_larger_batches_and_warms_up(plan: Plan) -> None:
    recipes = _pretrain_recipes(plan, "out_of_distribution")
    (schedule,) = {r.schedule for r in recipes if r.task.name == "cvrl"}
    assert (schedule.epochs, schedule.batch_clips, schedule.warmup_epochs) == (200, 128, 5.0)
    assert schedule.lr == pytest.approx(0.32 * 128 / 1024)


def test_no_two_runs_have_one_title(plan: Plan) -> None:
    """A person identifies runs by their titles, in `kdbatch status` and in reports of failures."""
    assert len({item.title for item in plan.runs}) == len(plan.runs) == 1522
