"""A profile trains single networks by AdamW or at other rates; plans say whose speed is unknown."""

from pathlib import Path

import pytest
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.cli.planning.plan_text import plan_lines
from kdbatch.plan.costs.totals import plan_totals
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.retrieve import Retrieve

OWN = (
    "networks:\n  shufflenet_2x: {optimizer: adamw, pretrain_lr: 1.0e-4, finetune_lr: 2.0e-4, "
    "distill_lr: 3.0e-4, weight_decay: 0.02, warmup_epochs: 4}\n"
)


@pytest.fixture
def jobs(sharded, in_tmp: Path) -> Path:
    """A copy of an experiment and of a profile, where both can be edited."""
    sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    (in_tmp / "jobs" / "profiles").mkdir(parents=True)
    for name in ("subset_size.yaml", "profiles/h200.yaml"):
        (in_tmp / "jobs" / name).write_text((JOBS / name).read_text())
    return in_tmp / "jobs"


def _plan(jobs: Path) -> Plan:
    return make_plan([jobs / "subset_size.yaml"], profile="h200", config=Config())


def _set_networks(jobs: Path, text: str) -> None:
    """Replace the profile's own."""
    path = jobs / "profiles" / "h200.yaml"
    lines = path.read_text().splitlines(keepends=True)
    start = lines.index("networks:\n")
    path.write_text("".join([*lines[:start], text, *lines[start + 2 :]]))


def test_one_network_gets_its_optimizer_and_rates_and_the_others_keep_their_ids(
    jobs: Path,
) -> None:
    before = {item.run.id for item in _plan(jobs).runs}
    _set_networks(jobs, OWN)
    changed = kept = 0
    rates = set()
    for item in _plan(jobs).runs:
        recipe = item.run.recipe
        if isinstance(recipe, Compare | Import | Retrieve):
            continue
        schedule = recipe.schedule
        is_probe = isinstance(recipe, Finetune) and recipe.trained == "head"
        if recipe.backbone.kind != "shufflenet_2x":
            kept += 1
            assert item.run.id in before and schedule.optimizer == "sgd"
        elif is_probe:
            assert schedule.optimizer == "sgd" and schedule.lr == 2.0
        else:
            changed += 1
            assert item.run.id not in before
            assert (schedule.optimizer, schedule.warmup_epochs) == ("adamw", 4)
            assert schedule.weight_decay == 0.02
            scale = schedule.batch_clips / 64 if isinstance(recipe, Pretrain) else 1
            rates.add((recipe.kind, round(schedule.lr / scale, 9)))
    assert changed > 10 and kept > 10
    assert rates == {("pretrain", 1e-4), ("finetune", 2e-4), ("distill", 3e-4)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{optimizer: adamw, finetune_lr: 1.0e-4}", "pretrain_lr: adamw needs a rate of its own"),
        ("{optimizer: adam}", "optimizer: found 'adam'"),
        ("{warmup_epochs: 51}", "warmup_epochs: found 51, .* has 50 epochs. Write at most 50"),
        ("{pretrain_lr: 0}", "pretrain_lr: found 0"),
        ("{lr: 0.1}", "has no field .lr."),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(jobs: Path, text: str, message: str) -> None:
    _set_networks(jobs, f"networks:\n  shufflenet_2x: {text}\n")
    with pytest.raises(UserError, match=message):
        _plan(jobs)


def test_an_unknown_network_is_refused(jobs: Path) -> None:
    _set_networks(jobs, "networks:\n  shufflenet: {pretrain_lr: 0.1}\n")
    with pytest.raises(UserError, match="Did you mean 'shufflenet_2x'"):
        _plan(jobs)


def _text(plan: Plan) -> str:
    totals = plan_totals(plan, num_at_once=1)
    states = {item.run.id: "planned" for item in plan.runs}
    return "\n".join(
        plan_lines(
            plan,
            totals,
            states,  # pyright: ignore[reportArgumentType]  # states of runs, as text
            queue="slurm",
            profile="h200",
            on_gpus=None,
            width=80,
        )
    )


def test_a_plan_says_which_networks_speed_was_never_measured(jobs: Path) -> None:
    assert "not measured" not in _text(_plan(jobs))
    experiment = jobs / "subset_size.yaml"
    text = experiment.read_text().replace("shufflenet_2x", "swin3d_t")
    experiment.write_text(text.replace("r21d_10", "c3d"))
    plan = _plan(jobs)
    assert "fed from shards; not measured: Swin-T, C3D" in " ".join(_text(plan).split())
    assert all(item.cost.unmeasured for item in plan.runs)
    assert all(item.cost.device_hours > 0 for item in plan.runs)


def test_an_unmeasured_network_is_compared_with_one_that_was_measured() -> None:
    for spec in BACKBONE_SPECS.values():
        if spec.speed is None:
            assert BACKBONE_SPECS[spec.speed_like].speed is not None
