"""Critical path and time with a few runs at once, by hand on small plans."""

import pytest
from support.launching import plan_of

from kdbatch.plan.costs.wall_time import hours_with, longest_chain

SHAPE = {"a": (), "b": (), "c": ("a",), "d": ("a", "b"), "e": ("d",)}
HOURS = {"a": 1.0, "b": 4.0, "c": 2.0, "d": 3.0, "e": 0.5}


def test_the_longest_chain_is_the_sum_along_runs_that_wait_for_each_other() -> None:
    chain = longest_chain(plan_of(SHAPE, cost=HOURS).runs)
    assert [planned.title for planned in chain.runs] == ["b", "d", "e"]
    assert chain.hours == 7.5


@pytest.mark.parametrize(
    ("num_at_once", "hours"),
    [
        (1, 10.5),
        (2, 7.5),  # a and c beside b
        (64, 7.5),
    ],
)
def test_runs_at_once_shorten_a_plan_down_to_its_longest_chain(num_at_once, hours) -> None:
    assert hours_with(plan_of(SHAPE, cost=HOURS).runs, num_at_once=num_at_once) == hours


def test_two_places_for_three_equal_runs_take_twice_as_long_as_one() -> None:
    runs = plan_of(dict.fromkeys("abc", ()), cost=dict.fromkeys("abc", 2.0)).runs
    assert hours_with(runs, num_at_once=2) == 4.0


def test_nothing_to_do_takes_no_time() -> None:
    assert hours_with((), num_at_once=2) == 0.0 == longest_chain(()).hours
