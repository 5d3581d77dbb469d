"""The experiments of `jobs/`, planned together."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.plans.declarations import MAP_CLAIMS
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.pretrain import Pretrain

FILES = sorted(JOBS.glob("*.yaml"))
PROFILES = sorted(path.stem for path in (JOBS / "profiles").glob("*.yaml"))


@pytest.fixture
def study(sharded):
    config = sharded(k400=240_000, ssv2=168_000, ucf101=13_320, hmdb51=6766)

    def plan(profile: str, files: Sequence[Path] = FILES) -> Plan:
        return make_plan(files, profile=profile, config=config)

    return plan


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_plans_the_whole_study_and_every_map_and_claim_has_its_runs(
    study, profile: str
) -> None:
    plan = study(profile)
    assert [record.experiment for record in plan.records] == [path.stem for path in FILES]
    for record in plan.records:
        # roles of maps too: none is drawn for a case that does not exist
        roles = {cell.role for cell in record.cells}
        assert set(record.roles) == roles
        for claim in record.claims:
            prefix = "map:" if claim.kind in MAP_CLAIMS else ""
            assert {f"{prefix}{name}" for name in (claim.who, *claim.than)} <= roles


def test_a_run_that_several_experiments_need_is_planned_once(study) -> None:
    together = study("paper").runs
    ids_by_file = [{item.run.id for item in study("paper", [path]).runs} for path in FILES]
    assert {item.run.id for item in together} == set().union(*ids_by_file)
    num_saved = sum(len(ids) for ids in ids_by_file) - len(together)
    assert num_saved == sum(len(item.used_by) - 1 for item in together) > 30
    shared = [item for item in together if len(item.used_by) > 1]
    students = [item.run for item in shared if item.run.recipe.kind == "distill"]
    assert any(not run.parents for run in students)  # labels only


def test_six_tasks_are_trained_four_of_them_at_three_complexities_and_two_as_in_their_papers(
    study,
) -> None:
    recipes = [item.run.recipe for item in study("paper").runs]
    tasks = {(r.task.name, r.task.complexity) for r in recipes if isinstance(r, Pretrain)}
    at_three = {(name, c) for name in ("rotnet", "vcop", "prp", "rspnet") for c in (1, 2, 3)}
    assert tasks == at_three | {("cvrl", 2), ("tdl", 3)}


def test_a_profile_can_leave_out_a_control_with_all_that_names_it(study) -> None:
    for record in study("toy").records:
        assert "same_task" not in repr((record.roles, record.tables, record.claims))
    for record in study("paper").records:
        if record.experiment in ("recipe", "methods"):
            continue  # what they ask does not need other seeds
        assert "same_task" in record.roles and any("same_task" in t.rows for t in record.tables)
        assert any(claim.than == ("same_task",) and claim.control for claim in record.claims)
        assert {cell.seed for cell in record.cells if cell.role == "same_task"} == {0, 1, 2}


def test_teachers_of_one_task_differ_in_their_seed_alone(study) -> None:
    plan = study("paper")
    runs = {item.run.id: item.run for item in plan.runs}
    record = next(r for r in plan.records if r.experiment == "task_complexity")
    for cell in (c for c in record.cells if c.role == "same_task"):
        teachers = [runs[parent] for parent in runs[cell.run_id].parents]
        assert [t.seed - cell.seed for t in teachers] == [0, 1, 2]
        assert len({t.recipe for t in teachers}) == 1
