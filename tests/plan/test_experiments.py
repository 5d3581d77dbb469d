"""The four experiments of `jobs/`, planned together."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from worlds import JOBS

from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.plans import Plan
from kdbatch.vocab.tasks import TASKS

FILES = sorted(JOBS.glob("*.yaml"))
PROFILES = sorted(path.stem for path in (JOBS / "profiles").glob("*.yaml"))


@pytest.fixture
def study(sharded):
    config = sharded(k400=240_000, ssv2=168_000, ucf101=13_320, hmdb51=6766)

    def plan(profile: str, files: Sequence[Path] = FILES) -> Plan:
        return make_plan(files, profile=profile, config=config)

    return plan


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_plans_the_whole_study_and_every_map_and_claim_has_its_runs(study, profile: str) -> None:
    plan = study(profile)
    assert [record.experiment for record in plan.records] == [path.stem for path in FILES]
    for record in plan.records:
        played = {cell.role for cell in record.cells}
        assert set(record.roles) == played  # roles of maps too: none is drawn for a case that does not exist
        for claim in record.claims:
            who = {f"map:{name}" for name in (claim.who, *claim.than)} if claim.kind == "fewer_blocks_than" else {claim.who, *claim.than}
            assert who <= played


def test_a_run_that_several_experiments_need_is_planned_once(study) -> None:
    together = study("paper")
    apart = [{item.run.id for item in study("paper", [path]).runs} for path in FILES]
    assert {item.run.id for item in together.runs} == set().union(*apart)
    saved = sum(len(ids) for ids in apart) - len(together.runs)
    assert saved == sum(len(item.used_by) - 1 for item in together.runs) > 30
    control = next(item for item in together.runs if item.run.recipe.kind == "distill" and len(item.used_by) > 1)
    assert control.run.parents == ()  # labels only: one run, whatever stands beside it


def test_all_six_tasks_are_trained_four_of_them_at_three_complexities_and_two_as_in_their_papers(study) -> None:
    ladder = {(r.task.name, r.task.complexity) for item in study("paper").runs if (r := item.run.recipe).kind == "pretrain"}
    assert {name for name, _ in ladder} == set(TASKS)
    climbed = {(name, c) for name in ("rotnet", "vcop", "prp", "rspnet") for c in (1, 2, 3)}
    assert ladder == climbed | {("cvrl", 2), ("tdl", 3)}
