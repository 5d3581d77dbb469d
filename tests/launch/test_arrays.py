"""Which runs share an array, and what each waits for: values only."""

from pathlib import Path

import pytest
from launch_world import config_in, ids, plan_of

from kdbatch.launch.arrays import arrays_of, dependency
from kdbatch.vocab.config import Site


def shown(plan, *, live=None, size=1000):
    """(runs, after, each_after) of each array, by name."""
    names = {run_id: name for name, run_id in ids(plan).items()}
    site = Site(max_array_size=size)
    arrays = arrays_of(plan, config=config_in_nothing(site), live={ids(plan)[k]: v for k, v in (live or {}).items()})
    return [tuple("".join(names[r] for r in run_ids) for run_ids in (a.run_ids, a.after, a.each_after)) for a in arrays]


def config_in_nothing(site):
    return config_in(Path("nowhere"), site=site)


def test_runs_without_parents_are_one_array():
    assert shown(plan_of({"a": (), "b": (), "c": ()})) == [("abc", "", "")]


def test_an_array_is_split_at_the_sites_limit():
    assert shown(plan_of(dict.fromkeys("abcde", ())), size=2) == [("ab", "", ""), ("cd", "", ""), ("e", "", "")]


def test_one_child_per_element_waits_element_by_element():
    plan = plan_of({"a": (), "b": (), "c": (), "x": ("a",), "y": ("b",), "z": ("c",)})
    assert shown(plan) == [("abc", "", ""), ("xyz", "", "abc")]


def test_two_children_per_element_are_two_rows():
    plan = plan_of({"a": (), "b": (), "w": ("a",), "x": ("a",), "y": ("b",), "z": ("b",)})
    assert sorted(shown(plan)[1:]) == [("wy", "", "ab"), ("xz", "", "ab")]


def test_children_of_an_inner_element_wait_for_it_alone():
    plan = plan_of({"a": (), "b": (), "y": ("b",), "z": ("b",)})
    assert shown(plan)[1:] == [("yz", "b", "")]


def test_runs_with_the_same_parents_share_an_array_and_others_do_not():
    plan = plan_of({"a": (), "b": (), "c": (), "x": ("a", "b"), "y": ("b", "c"), "z": ("a", "b")})
    assert {run_ids: set(after) for run_ids, after, _ in shown(plan)[1:]} == {"xz": {"a", "b"}, "y": {"b", "c"}}


def test_what_is_live_is_not_submitted_but_waited_for():
    plan = plan_of({"a": (), "b": (), "x": ("a", "b")})
    assert shown(plan, live={"a": "7_0"})[0] == ("b", "", "")
    assert set(shown(plan, live={"a": "7_0"})[1][1]) == {"a", "b"}


def test_children_of_a_live_array_wait_element_by_element():
    plan = plan_of({"a": (), "b": (), "x": ("a",), "y": ("b",)})
    assert shown(plan, live={"a": "7_0", "b": "7_1"}) == [("xy", "", "ab")]


def test_a_run_never_waits_for_a_run_that_it_does_not_need():
    shape = {"a": (), "b": (), "c": (), "d": ("a",), "e": ("a", "b"), "f": ("c",), "g": ("e",), "h": ("d", "f"), "i": ("f",)}
    plan = plan_of(shape)
    arrays = arrays_of(plan, config=config_in_nothing(Site()), live={})
    waited = {}
    for array in arrays:
        for i, run_id in enumerate(array.run_ids):
            waited[run_id] = set(array.after) | ({array.each_after[i]} if array.each_after else set())
    assert waited == {p.run.id: set(p.run.parents) for p in plan.runs}


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_element_i_waits_for_element_i(size):
    shape = {f"a{i}": () for i in range(5)} | {f"b{i}": (f"a{i}",) for i in range(5)} | {f"c{i}": (f"b{i}",) for i in (1, 0, 2, 4)}
    arrays = arrays_of(plan_of(shape), config=config_in_nothing(Site(max_array_size=size)), live={})
    places = {run_id: (array.name, i) for array in arrays for i, run_id in enumerate(array.run_ids)}
    assert all(len(array.run_ids) <= size for array in arrays)
    for array in arrays:
        assert [places[p][1] for p in array.each_after] == list(range(len(array.each_after)))
        assert len({places[p][0] for p in array.each_after}) <= 1


def test_dependencies_in_slurms_words():
    plan = plan_of({"a": (), "b": (), "x": ("a",), "y": ("b",), "z": ("a", "b")})
    first, each, both = arrays_of(plan, config=config_in_nothing(Site()), live={})
    jobs = {ids(plan)["a"]: "41_0", ids(plan)["b"]: "41_1"}
    assert dependency(first, jobs) is None
    assert dependency(each, jobs) == "aftercorr:41"
    assert sorted((dependency(both, jobs) or "").split(":")) == ["41_0", "41_1", "afterok"]
