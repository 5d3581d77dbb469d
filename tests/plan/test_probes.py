"""Probes, teachers of other seeds, and the profile's fields for the target and for single tasks."""

from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.evaluation import Selection
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.recipe import RECIPE_KINDS
from kdbatch.vocab.recipes.retrieve import Retrieve
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import CENTER_CROP, INNER_CROP

SEEDS = "seeds: [0, 1, 2]"


@pytest.fixture
def jobs(sharded, in_tmp: Path) -> Path:
    """A copy of the experiment and of its profile, where both can be edited."""
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    (in_tmp / "jobs" / "profiles").mkdir(parents=True)
    for name in ("subset_size.yaml", "profiles/paper.yaml"):
        (in_tmp / "jobs" / name).write_text((JOBS / name).read_text())
    return in_tmp / "jobs"


def _edit(path: Path, *changes: tuple[str, str]) -> None:
    text = path.read_text()
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)


def _plan(jobs: Path) -> Plan:
    return make_plan([jobs / "subset_size.yaml"], profile="paper", config=Config())


def test_probes_measure_every_pretrained_network_once_per_target(jobs: Path) -> None:
    plan = _plan(jobs)
    (record,) = plan.records
    assert {"T1.retrieval", "T2.retrieval", "T1.linear", "T2.linear"} <= set(record.roles)
    assert record.roles["T2.linear"] == "T2 R(2+1)D, pretrained features, linear probe"
    runs = {item.run.id: item.run for item in plan.runs}
    assert tuple(wave.name for wave in plan.waves) == RECIPE_KINDS[1:]  # no teacher is imported
    retrieved, probed = 0, 0
    for run in runs.values():
        recipe = run.recipe
        if isinstance(recipe, Retrieve):
            retrieved += 1
            assert (recipe.data.split, recipe.evaluation.test.split) == ("train01", "test01")
            assert recipe.view.augment == INNER_CROP
        elif isinstance(recipe, Finetune) and recipe.trained == "head":
            probed += 1
            assert recipe.dropout == 0
        else:
            continue
        (parent,) = run.parents
        assert runs[parent].recipe.kind == "pretrain" and runs[parent].seed == run.seed
    assert retrieved == probed == 3 * 2 * 4 * 2  # seeds, networks, subsets, targets
    hours = {item.run.recipe.kind: item.cost.device_hours for item in plan.runs}
    assert 0 < hours["retrieve"] < hours["distill"]


def test_a_teacher_of_the_next_seed_is_the_next_seeds_teacher(jobs: Path) -> None:
    _edit(
        jobs / "subset_size.yaml",
        ("controls:", "controls:\n  same: {title: Same task, teachers: [T1, T1@1]}"),
    )
    plan = _plan(jobs)
    (record,) = plan.records
    runs = {item.run.id: item.run for item in plan.runs}
    titles = {item.run.id: item.title for item in plan.runs}
    case = {"target": "hmdb51", "subset": "30k"}
    at = {(c.role, c.seed): c.run_id for c in record.cells if c.case == case}
    assert runs[at["same", 0]].parents == (at["T1", 0], at["T1", 1])
    assert runs[at["same", 1]].parents == (at["T1", 1], at["T1", 2])
    last = runs[runs[at["same", 2]].parents[1]]
    assert (last.seed, runs[last.parents[0]].seed) == (3, 3)
    assert last.recipe == runs[at["T1", 0]].recipe
    title = "train ShuffleNet on hmdb51 from RSPNet C1 + RSPNet C1@1 on k400[:30k] (ae-kd), seed 0"
    assert titles[at["same", 0]] == title
    assert len(record.cells) == len({(c.role, c.seed, *c.case.values()) for c in record.cells})


def test_a_teacher_at_zero_is_the_teacher_and_each_alone_is_a_control(jobs: Path) -> None:
    _edit(
        jobs / "subset_size.yaml",
        (
            "from_T2: {title: Student of the R(2+1)D teacher alone, teachers: [T2]}",
            "from_T2: {title: T2 alone, teachers: [T2@0]}",
        ),
    )
    plan = _plan(jobs)
    (record,) = plan.records
    runs = {item.run.id: item.run for item in plan.runs}
    case = {"target": "ucf101", "subset": "10k"}
    at = {c.role: c.run_id for c in record.cells if c.case == case and c.seed == 0}
    assert runs[at["from_T1"]].parents == (at["T1"],) and runs[at["from_T2"]].parents == (at["T2"],)
    assert runs[at["from_T1"]].recipe == runs[at["student"]].recipe


def test_the_paper_profile_holds_out_the_sources_numbers_of_videos(jobs: Path) -> None:
    recipes = [item.run.recipe for item in _plan(jobs).runs]
    trained = [recipe for recipe in recipes if isinstance(recipe, Finetune | Distill)]
    for target, num_videos, held_out in (("ucf101", 9537, 800), ("hmdb51", 3570, 400)):
        (selection,) = {recipe.selection for recipe in trained if recipe.data.dataset == target}
        assert isinstance(selection, Selection)
        assert selection.share * num_videos == pytest.approx(held_out, rel=0.01)


@pytest.mark.parametrize(
    ("crop", "flip", "side"),
    [("center", 0.0, 1.0), ("random", 0.5, 112 / 128), ("random-resized", 0.5, 1.0)],
)
def test_teachers_students_and_controls_are_cut_alike(
    jobs: Path, crop: str, flip: float, side: float
) -> None:
    _edit(jobs / "profiles" / "paper.yaml", (SEEDS, f"{SEEDS}\nfinetune_crop: {crop}"))
    views = {
        item.run.recipe.view
        for item in _plan(jobs).runs
        if isinstance(item.run.recipe, Finetune | Distill)
    }
    (view,) = views
    augment = view.augment
    assert (augment.crop, augment.flip_probability, augment.square_side) == (crop, flip, side)
    assert (augment == CENTER_CROP) == (crop == "center")


def test_crops_and_views_reach_the_recipes(jobs: Path) -> None:
    fields = f"{SEEDS}\nnum_eval_crops: 3\nteacher_views: 24"
    _edit(jobs / "profiles" / "paper.yaml", (SEEDS, fields))
    recipes = [item.run.recipe for item in _plan(jobs).runs]
    assert {r.evaluation.num_crops for r in recipes if isinstance(r, Finetune | Distill)} == {3}
    # the control repeats its batches as the student does
    assert {r.teacher_views for r in recipes if isinstance(r, Distill)} == {24}


def test_a_task_can_be_pretrained_at_a_scale_of_its_own_and_with_weaker_colours(jobs: Path) -> None:
    scale = "{epochs: 7, batch_clips: 32, lr_factor: 2.0, colours: 0.5}"
    _edit(jobs / "profiles" / "paper.yaml", ("pretrain_of:", f"pretrain_of:\n  rspnet: {scale}"))
    every_recipe = [item.run.recipe for item in _plan(jobs).runs]
    recipes = {recipe for recipe in every_recipe if isinstance(recipe, Pretrain)}
    assert {(r.backbone.kind, r.schedule.epochs, r.schedule.lr) for r in recipes} == {
        ("r21d_10", 7, 0.05),
        ("shufflenet_2x", 7, 0.1),
    }
    (augment,) = {recipe.view.augment for recipe in recipes}
    full = TASKS["rspnet"].augment
    assert (augment.brightness, augment.hue, augment.gray_probability) == (0.2, 0.2, 0.1)
    assert augment.min_area == full.min_area
    assert full.with_colours(1.0) == full
    assert augment.with_colours(0.0).jitter_probability == full.jitter_probability


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("probes: [retrieval, linear]", "probes: [retreival]"),
            r"probes\[0\]: found 'retreival'. Did you mean 'retrieval'\?",
        ),
        (
            ("teachers: [T1, T2]", "teachers: [T1, T1@x]"),
            r"student.teachers: 'T1@x' has no seed offset after the @. .*T1@1",
        ),
        (("teachers: [T1, T2]", "teachers: [T1, T1@-1]"), "has no seed offset"),
        (("teachers: [T1, T2]", "teachers: [T1, T1@]"), "has no seed offset"),
        (
            ("teachers: [T1, T2]", "teachers: [T1, T1@0]"),
            "T1 and T1@0 are one teacher. Name each once; T1@1 is T1 with another seed",
        ),
        (("teachers: [T1, T2]", "teachers: [T1, T3@1]"), "no 'T3'"),
        (
            ("teachers: [T1, T2]", f"teachers: [{', '.join(f'T1@{i}' for i in range(9))}]"),
            "found 9, but ae-kd is limited to 8.* at most 8",
        ),
        (("weighting: ae-kd", "weighting: ca-mdk"), "Did you mean 'ca-mkd'"),
        (("weighting: ae-kd", "weighting: none"), "Write one of: equal, ae-kd, ca-mkd"),
        (
            ("target: $target\n  teachers", "target: k400\n  teachers"),
            "T1 predicts the classes of ucf101, its student those of k400",
        ),
        (
            ("    pretrain: {task: rspnet, complexity: 1, dataset: k400, subset: $subset}\n", ""),
            None,
        ),
    ],
)
def test_a_mistake_in_the_experiment_is_one_line(
    jobs: Path, change: tuple[str, str], message: str | None
) -> None:
    _edit(jobs / "subset_size.yaml", change)
    if message is None:
        _edit(jobs / "subset_size.yaml", (", starts_from: T1", ""), (", starts_from: T2", ""))
        message = "probes: no teacher has a pretrain, so there are no features to probe"
    with pytest.raises(UserError, match=message) as caught:
        _plan(jobs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            (SEEDS, f"{SEEDS}\nfinetune_crop: centre"),
            "finetune_crop: found 'centre'. Did you mean 'center'",
        ),
        ((SEEDS, f"{SEEDS}\nnum_eval_crops: 2"), "num_eval_crops: found 2.* One of: 1, 3"),
        (
            ("num_eval_clips: 10", "num_eval_clips: 0"),
            r"paper\.yaml: num_eval_clips: found 0\. Write 1 to 10,000",
        ),
        (
            (SEEDS, f"{SEEDS}\nteacher_views: -1"),
            r"paper\.yaml: teacher_views: found -1\. Write 0 to 100,000\. teacher_views: Epochs",
        ),
        (
            ("share: 0.084", "share: 800"),
            r"selection.ucf101.share: found 800. Write 0.001 to 0.5",
        ),
        (
            ("share: 0.084, every_epochs: 5", "share: 0.084, every_epochs: 0"),
            r"selection\.ucf101\.every_epochs: found 0\. Write 1 to 100,000",
        ),
        (("  ucf101: {share", "  ucf10: {share"), "selection: no 'ucf10'. Did you mean 'ucf101'"),
        (
            ("pretrain_of:", "pretrain_of:\n  rsp: {epochs: 1, batch_clips: 8}"),
            "pretrain_of: no 'rsp'. Did you mean 'rspnet'",
        ),
        (
            (SEEDS, f"{SEEDS}\ntasks: {{rspent: {{}}}}"),
            r"paper\.yaml: tasks: no 'rspent'\. Did you mean 'rspnet'",
        ),
        (
            (SEEDS, f"{SEEDS}\nwidths: {{r21d: 0.5}}"),
            r"paper\.yaml: widths: no 'r21d'\. Did you mean 'r21d_10'",
        ),
        (
            (SEEDS, f"{SEEDS}\ntasks: {{prp: {{rate: 1}}}}"),
            r"paper\.yaml: tasks\.prp has no field 'rate'\. Did you mean 'rates'",
        ),
        (
            (SEEDS, f"{SEEDS}\ntasks: {{prp: {{rates: [2]}}}}"),
            r"paper\.yaml: tasks\.prp\.rates: found \[2\]\. Write two or more",
        ),
        (
            ("epochs: 200, batch_clips: 64", "epochs: 200, batch_clips: 64, colours: 2"),
            r"pretrain\.colours: found 2\. Write 0 to 1\. colours: Share of the task",
        ),
        (
            ("linear: {", "#: {"),
            "a linear probe needs a schedule, and the profile has none. .*for example: linear: ",
        ),
    ],
)
def test_a_mistake_in_the_profile_is_one_line(
    jobs: Path, change: tuple[str, str], message: str
) -> None:
    _edit(jobs / "profiles" / "paper.yaml", change)
    with pytest.raises(UserError, match=message) as caught:
        _plan(jobs)
    assert "\n" not in str(caught.value)
