import dataclasses
import json
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.recipe import RECIPE_KINDS
from kdbatch.vocab.runs.run import Run

SUBSET_SIZE = JOBS / "subset_size.yaml"


def _plan(config: Config, *, profile: str = "paper", file: Path = SUBSET_SIZE) -> Plan:
    return make_plan([file], profile=profile, config=config)


def _edited(folder: Path, *changes: tuple[str, str]) -> Path:
    (folder / "jobs" / "profiles").mkdir(parents=True)
    for profile in (JOBS / "profiles").glob("*.yaml"):
        (folder / "jobs" / "profiles" / profile.name).write_text(profile.read_text())
    text = SUBSET_SIZE.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "jobs" / "subset_size.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def config(sharded) -> Config:
    return sharded(k400=240_000, ucf101=13_320, hmdb51=6766)


def test_the_whole_first_experiment_counts_every_run_once(config: Config) -> None:
    plan = _plan(config)
    kinds = [item.run.recipe.kind for item in plan.runs]
    # Per seed: 2 networks x 4 subsets; fine-tuned and probed on 2 targets; per cell students of
    # both teachers in four ways (AE-KD's and equal weights, smoothed labels, pretrained), of either
    # and of two seeds, and both teachers for longer; per target labels only; 7 maps, one of a
    # student at an accuracy. The last seed's students of two seeds need 4 more ShuffleNet teachers
    # per target.
    expected = [3 * 8 + 4, 2 * 3 * 16 + 8, 3 * (9 * 8 + 2 + 1), 3 * 16, 3 * 7]
    assert [kinds.count(kind) for kind in RECIPE_KINDS[1:]] == expected
    assert len({item.run.id for item in plan.runs}) == len(plan.runs)


def test_the_control_is_one_run_whatever_the_subset(config: Config) -> None:
    (record,) = _plan(config).records
    controls = [c for c in record.cells if c.role == "labels_only" and c.seed == 0]
    assert len({c.run_id for c in controls if c.case["target"] == "ucf101"}) == 1


def test_the_control_differs_from_the_student_in_nothing_but_its_teachers(config: Config) -> None:
    runs = {item.run.id: item.run for item in _plan(config).runs}
    (record,) = _plan(config).records
    student, control = (
        next(runs[cell.run_id] for cell in record.cells if cell.role == role)
        for role in ("student", "labels_only")
    )
    assert control.parents == () and control.seed == student.seed
    assert isinstance(student.recipe, Distill) and isinstance(control.recipe, Distill)
    recipe = dataclasses.replace(
        student.recipe,
        weighting=control.recipe.weighting,
        temperature=control.recipe.temperature,
        soft_weight=control.recipe.soft_weight,
        max_teacher_weight=control.recipe.max_teacher_weight,
    )
    assert recipe == control.recipe


def test_parents_come_before_children_and_waves_follow_the_stages(config: Config) -> None:
    plan = _plan(config)
    seen: set[str] = set()
    for item in plan.runs:
        assert seen >= set(item.run.parents)
        seen.add(item.run.id)
    assert [wave.name for wave in plan.waves] == list(RECIPE_KINDS[1:])


def test_an_id_is_the_same_in_every_process_and_on_every_site(config: Config) -> None:
    elsewhere = dataclasses.replace(
        config, resources={"pretrain": Resources(gpus=8)}, decoder="decord"
    )
    assert [i.run.id for i in _plan(config).runs] == [i.run.id for i in _plan(elsewhere).runs]
    run = _plan(config).runs[0].run
    assert parse(Run, json.loads(json.dumps(dataclasses.asdict(run))), where="x").id == run.id


def test_other_videos_or_another_seed_make_another_run(config: Config) -> None:
    run = _plan(config).runs[0].run
    assert isinstance(run.recipe, Pretrain)
    other_data = dataclasses.replace(
        run.recipe, data=dataclasses.replace(run.recipe.data, digest="f" * 16)
    )
    others = [
        dataclasses.replace(run, seed=9),
        dataclasses.replace(run, recipe=other_data),
        dataclasses.replace(run, parents=("r0",)),
    ]
    assert len({r.id for r in (run, *others)}) == 4


def test_the_toy_profile_runs_the_same_file_at_another_scale(config: Config) -> None:
    plan = _plan(config, profile="toy")
    (record,) = plan.records
    assert record.axes == {"target": ("ucf101",), "subset": ("80", "160")}
    assert [m.at["subset"] for m in record.maps] == ["80"] * 6
    says = [claim.says for claim in record.claims]
    assert "The student learns most from teachers pretrained on 80 videos." in says
    assert not any("30k" in text or "100k" in text for text in says)
    assert record.question and record.sources == ("arXiv:2306.06010", "arXiv:2504.06153")
    kinds = [item.run.recipe.kind for item in plan.runs]
    assert [kinds.count(kind) for kind in RECIPE_KINDS[1:]] == [4, 4, 9, 0, 6]


def test_planning_writes_nothing(config: Config, in_tmp: Path) -> None:
    before = sorted(in_tmp.rglob("*"))
    _plan(config)
    assert sorted(in_tmp.rglob("*")) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("weighting: ae-kd", "weigthing: ae-kd"),
            r"student has no field 'weigthing'\. Did you mean 'weighting'",
        ),
        (("task: rspnet", "task: rspnett"), "no 'rspnett'. Did you mean 'rspnet'"),
        (("backbone: r21d_10", "backbone: r21d"), "no 'r21d'. Did you mean 'r21d_10'"),
        (("dataset: k400", "dataset: k40"), "no 'k40'. Did you mean 'k400'"),
        (("teachers: [T1, T2]", "teachers: [T1, T3]"), r"student\.teachers: no 'T3'"),
        (("$subset", "$subsett"), "no 'subsett'. Did you mean 'subset'"),
        (
            ("10k, 30k, 50k, 100k", "10k, 30k, 100k, 500k"),
            "500k videos asked for, but there are only 246245. Write all, or at most 246245",
        ),
        (("rows: [T1,", "rows: [T0, T1,"), r"tables\.table1\.rows: no 'T0'"),
        (("columns: [target, subset]", "columns: [target]"), "a column needs every axis once"),
        (("value: 30k", "value: 40k"), "no '40k'"),
        (
            ("than_at: {subset: 100k}", "than_at: {subset: 101k}"),
            r"claims\.less_data_suffices\.than_at\.subset: no '101k'",
        ),
        (
            ("at: {subset: 10k}", "at: {subsets: 10k}"),
            r"less_data_suffices\.at: no 'subsets'. Did you mean 'subset'",
        ),
        (("kind: best_at", "kind: best"), "Did you mean 'best_at'"),
        (
            ("target: ucf101, subset: 30k", "subset: 30k"),
            r"maps\.cka_r21d_teacher\.at: the axis 'target' is missing\.",
        ),
        (("name: subset_size", "name: other"), "the name must be that of the file"),
        (("vary:", "vary:\n  subset: [1k]\n  subset: [2k]\nvery:"), "given twice"),
        (("complexity: 1", "complexity: 4"), "complexity: found 4"),
        (
            ("    control: true", "    points: 5.0"),
            r"labels_only\.points: beats does not use it.* uses than, at, than_at",
        ),
        (
            ("    axis: subset", "    axis: subset\n    than: [T1]"),
            r"student_best_at_30k\.than: best_at does not use it",
        ),
        (
            ("    axis: subset\n", ""),
            r"student_best_at_30k\.axis: is missing or empty, and best_at needs it",
        ),
        (
            ("kind: beats", "kind: mean_gain_at_least"),
            r"student_beats_teachers\.points: is missing or empty",
        ),
        (
            ("than: [cka_shufflenet_teacher, cka_r21d_teacher]", "than: []"),
            r"student_fewer_blocks\.than: is missing or empty",
        ),
        (
            ("than: [cka_shuff", "at: {subset: 30k}\n    than: [cka_shuff"),
            r"fewer_blocks\.at: fewer_blocks_than does not use it",
        ),
        (
            ("metric: recall_at_1", "metric: topp1"),
            "metric: found 'topp1'. Did you mean 'top1'",
        ),
        (
            ("axis: subset", "metric: top_1\n    axis: subset"),
            r"claims\[1\]\.metric: found 'top_1'.* One of: top1, top5",
        ),
        (
            ("  from_T1: {", "  student: {"),
            r"yaml: controls\.student: the name is taken by student\. Give each role a name",
        ),
        (
            ("  from_T1: {", "  T1: {"),
            r"subset_size\.yaml: controls\.T1: the name is taken by teachers\.T1",
        ),
        (
            (
                "controls:",
                "references:\n  T2: {title: R, backbone: r21d_10, target: $target}\ncontrols:",
            ),
            r"references\.T2: the name is",
        ),
        (
            ("  from_T1: {", "  T1.linear: {"),
            r"controls: found 'T1\.linear'\. A role is a word",
        ),  # the name of a probe
    ],
)
def test_a_mistake_in_the_file_is_one_line(
    config: Config, in_tmp: Path, change: tuple[str, str], message: str
) -> None:
    path = _edited(in_tmp, change)
    with pytest.raises(UserError, match=message) as caught:
        _plan(config, file=path)
    assert "\n" not in str(caught.value)


def test_an_unknown_profile_and_a_missing_file_are_reported(config: Config) -> None:
    with pytest.raises(UserError, match="Did you mean 'toy'"):
        _plan(config, profile="toi")
    with pytest.raises(UserError, match="there is no such file. Experiments there: methods"):
        _plan(config, profile="toy", file=JOBS / "nothing.yaml")


def test_thousands_of_runs_are_planned_in_seconds(config: Config, in_tmp: Path) -> None:
    sizes = ", ".join(str(n) for n in range(1000, 26_000, 500))
    path = _edited(in_tmp, ("10k, 30k, 50k, 100k", sizes))
    text = path.read_text()
    path.write_text(text[: text.index("maps:")])
    plan = _plan(config, file=path)
    # per seed, pretraining; teachers and their probes; students; labels only; then of other seeds
    assert len(plan.runs) == 3 * (50 * 2 + 50 * 12 + 50 * 20 + 2) + 50 + 50 * 2


def test_named_cases_set_several_names(config: Config, in_tmp: Path) -> None:
    path = _edited(
        in_tmp,
        ("subset: [10k, 30k, 50k, 100k]", "subset: {small: {count: 10k}, large: {count: 100k}}"),
        ("subset: $subset", "subset: $count"),
        ("subset: 30k}", "subset: small}"),
        ("value: 30k", "value: small"),
        ("at: {subset: 10k}", "at: {subset: small}"),
        ("than_at: {subset: 100k}", "than_at: {subset: large}"),
    )
    (record,) = _plan(config, file=path).records
    assert record.axes["subset"] == ("small", "large")


def test_a_mean_gain_may_be_claimed_to_be_at_least_zero(config: Config, in_tmp: Path) -> None:
    gain = "kind: mean_gain_at_least\n    points: 0"
    path = _edited(in_tmp, ("kind: beats", gain), ("    averaged: true\n", ""))
    (record,) = _plan(config, file=path).records
    assert {claim.points for claim in record.claims if claim.kind == "mean_gain_at_least"} == {0.0}
