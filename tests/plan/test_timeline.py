"""An experiment may have a timeline of its own, on which all of its clips are cut."""

from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.recipes.recipe import RECIPE_KINDS

NAME = "subset_size"


def _edited(in_tmp: Path, line: str) -> Path:
    path = in_tmp / f"{NAME}.yaml"
    path.write_text((JOBS / f"{NAME}.yaml").read_text().replace("\nvary:", f"\n{line}\nvary:"))
    return path


@pytest.fixture
def config(sharded) -> Config:
    return sharded(k400=240_000, ssv2=168_000, ucf101=13_320, hmdb51=6766)


def _plan(path: Path, config: Config, profile: str = "paper") -> Plan:
    return make_plan([path], profile=profile, config=config)


def test_every_clip_of_the_experiment_is_cut_on_its_timeline(in_tmp: Path, config: Config) -> None:
    plan = _plan(_edited(in_tmp, "timeline: {fps: 12.0, stride_frames: 2}"), config)
    recipes = [r for p in plan.runs if not isinstance(r := p.run.recipe, Import)]
    views = {(r.view.fps, r.view.stride_frames) for r in recipes}
    assert views == {(12.0, 2)}
    assert {p.run.recipe.kind for p in plan.runs} == set(RECIPE_KINDS) - {"import"}


def test_what_it_leaves_out_is_the_profiles(in_tmp: Path, config: Config) -> None:
    plan = _plan(_edited(in_tmp, "timeline: {fps: 12.0}"), config, profile="toy")
    recipes = [r for p in plan.runs if not isinstance(r := p.run.recipe, Import)]
    views = {(r.view.fps, r.view.stride_frames) for r in recipes}
    assert views == {(12.0, 3)}


def test_without_one_the_runs_are_the_same(in_tmp: Path, config: Config) -> None:
    own, usual = (
        {p.run.id for p in _plan(path, config).runs}
        for path in (_edited(in_tmp, "timeline: {fps: 24.0}"), JOBS / f"{NAME}.yaml")
    )
    assert own == usual


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("timeline: {fps: 0}", r"timeline.fps: found 0"),
        ("timeline: {rate: 12}", r"timeline has no field 'rate'. Fields: fps, stride_frames"),
    ],
)
def test_mistakes_name_the_field(in_tmp: Path, config: Config, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        _plan(_edited(in_tmp, line), config)
