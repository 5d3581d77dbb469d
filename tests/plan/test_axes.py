"""Values of axes keep their types where a `$name` stands for them."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.inputs import JOBS

from kdbatch.base.errors import UserError
from kdbatch.plan.resolve import make_plan
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.pretrain import Pretrain


@pytest.fixture
def plan_of(sharded, in_tmp: Path):
    config = sharded(k400=240_000, ucf101=13_320, hmdb51=6766)
    (in_tmp / "profiles").mkdir()
    (in_tmp / "profiles" / "micro.yaml").write_text((JOBS / "profiles/micro.yaml").read_text())

    def plan(vary: dict[str, Any], *, claims: list[Any] | None = None, **student: Any) -> Plan:
        raw = yaml.safe_load((JOBS / "subset_size.yaml").read_text())
        raw |= {"name": "mine", "vary": vary, "tables": [], "maps": [], "claims": claims or []}
        raw["student"] |= student
        for teacher in raw["teachers"].values():
            teacher["pretrain"]["complexity"] = "$complexity" if "complexity" in vary else 1
        text = yaml.safe_dump(raw).replace("$target", "ucf101")
        (in_tmp / "mine.yaml").write_text(
            text if "subset" in vary else text.replace("$subset", "16")
        )
        return make_plan([Path("mine.yaml")], profile="micro", config=config)

    return plan


@pytest.mark.parametrize("value", ["two\nlines", "x" * 201])
def test_a_value_that_is_no_short_line_is_refused_in_one(plan_of, value: str) -> None:
    with pytest.raises(
        UserError, match=r"vary\.network: found .*one line of at most 200"
    ) as caught:
        plan_of({"network": ["shufflenet_2x", value]})
    assert "\n" not in str(caught.value)


def test_a_long_value_that_a_profile_keeps_is_shown_short(plan_of, in_tmp: Path) -> None:
    path = in_tmp / "profiles" / "micro.yaml"
    path.write_text(path.read_text().replace("keep: {", f"keep: {{temperature: [{5000 * 'x'}], "))
    with pytest.raises(UserError, match=r"keeps 'x{50,60}\.\.\., which is no value"):
        plan_of({"temperature": [1, 4]}, temperature="$temperature")


def test_a_profile_that_keeps_no_value_of_an_axis_is_refused(plan_of, in_tmp: Path) -> None:
    path = in_tmp / "profiles" / "micro.yaml"
    path.write_text(path.read_text().replace("keep: {", "keep: {temperature: [], "))
    with pytest.raises(UserError, match=r"keeps no value of this axis.* 1, 4 below its keep\.temp"):
        plan_of({"temperature": [1, 4]}, temperature="$temperature")


def _temperatures(plan: Plan) -> set[float]:
    recipes = [item.run.recipe for item in plan.runs]
    return {r.temperature for r in recipes if isinstance(r, Distill) and r.weighting != "none"}


def test_numbers_of_a_list_are_numbers(plan_of) -> None:
    plan = plan_of({"temperature": [1, 4, 8.5]}, temperature="$temperature")
    assert _temperatures(plan) == {1.0, 4.0, 8.5}
    assert plan.records[0].axes == {"temperature": ("1", "4", "8.5")}


def test_numbers_that_must_be_whole_are_too(plan_of) -> None:
    recipes = [item.run.recipe for item in plan_of({"complexity": [1, 2, 3]}).runs]
    assert {r.task.complexity for r in recipes if isinstance(r, Pretrain)} == {1, 2, 3}


def test_a_value_written_out_makes_the_same_run_as_one_of_an_axis(plan_of) -> None:
    varied = plan_of({"temperature": [2, 8]}, temperature="$temperature")
    alone = plan_of({"temperature": {"hot": {"value": 8}}}, temperature="$value")
    assert {item.run.id for item in alone.runs} <= {item.run.id for item in varied.runs}


@pytest.mark.parametrize("sizes", [[8, 16], ["8", "16"]])
def test_sizes_may_be_numbers_or_texts(plan_of, sizes: list[Any]) -> None:
    recipes = [item.run.recipe for item in plan_of({"subset": sizes}).runs]
    assert {r.data.num_places for r in recipes if isinstance(r, Pretrain)} == {8, 16}


def test_claims_name_values_as_numbers(plan_of) -> None:
    claim = {"id": "c", "says": "s", "kind": "beats", "who": "student", "than": ["T1"]}
    best = {"id": "b", "says": "s", "kind": "best_at", "who": "student", "axis": "temperature"}
    plan = plan_of(
        {"temperature": [1, 4]},
        temperature="$temperature",
        claims=[claim | {"at": {"temperature": 4}}, best | {"value": 4}],
    )
    assert plan.records[0].claims[0].at == {"temperature": "4"}
    assert plan.records[0].claims[1].value == "4"
