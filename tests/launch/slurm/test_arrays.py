"""Which runs share an array, and which runs each waits for."""

from pathlib import Path

import pytest
from support.launching import config_in, ids, plan_of

from kdbatch.launch.slurm.arrays import arrays_of, dependency
from kdbatch.vocab.config import Site


def shown(plan, *, live=None, size=1000):
    """The elements of each array, with the runs that they wait for: `a`, or `z:ab`."""
    names = {run_id: name for name, run_id in ids(plan).items()}
    arrays = arrays_of(
        plan,
        config=config_in_nothing(Site(max_array_size=size)),
        live={ids(plan)[k]: v for k, v in (live or {}).items()},
    )
    return [
        [
            names[run_id] + (f":{''.join(sorted(names[p] for p in after))}" if after else "")
            for run_id, after in zip(a.run_ids, a.after)
        ]
        for a in arrays
    ]


def config_in_nothing(site):
    return config_in(Path("nowhere"), site=site)


def test_runs_without_parents_are_one_array():
    assert shown(plan_of({"a": (), "b": (), "c": ()})) == [["a", "b", "c"]]


def test_a_run_whose_parent_is_of_its_own_kind_is_in_a_later_array_and_waits():
    shape = {"a": (), "b": ("a",), "c": (), "d": ("b",)}
    plan = plan_of(shape, waves=(("a", "b", "c", "d"),))
    assert shown(plan) == [["a", "c"], ["b:a"], ["d:b"]]
    assert shown(plan, live={"a": "41"}) == [["c"], ["b:a"], ["d:b"]]


def test_an_array_is_split_at_the_sites_limit():
    assert shown(plan_of(dict.fromkeys("abcde", ())), size=2) == [["a", "b"], ["c", "d"], ["e"]]


def test_a_wave_is_one_array_whatever_its_runs_wait_for():
    plan = plan_of({"a": (), "b": (), "c": (), "x": ("a", "b"), "y": ("b", "c"), "z": ("a",)})
    assert [sorted(elements) for elements in shown(plan)] == [
        ["a", "b", "c"],
        ["x:ab", "y:bc", "z:a"],
    ]


def test_children_have_the_order_of_their_parents():
    plan = plan_of({"a": (), "b": (), "c": (), "x": ("c",), "y": ("a",), "z": ("b",)})
    assert shown(plan)[1] == ["y:a", "z:b", "x:c"]


def test_a_live_run_is_not_submitted_but_waited_for():
    plan = plan_of({"a": (), "b": (), "x": ("a", "b")})
    assert shown(plan, live={"a": "7_0"}) == [["b"], ["x:ab"]]


def test_a_run_never_waits_for_a_run_that_it_does_not_need():
    shape = {
        "a": (),
        "b": (),
        "c": (),
        "d": ("a",),
        "e": ("a", "b"),
        "f": ("c",),
        "g": ("e",),
        "h": ("d", "f"),
        "i": ("f",),
    }
    plan = plan_of(shape)
    arrays = arrays_of(plan, config=config_in_nothing(Site(max_array_size=2)), live={})
    waited = {
        run_id: set(after) for array in arrays for run_id, after in zip(array.run_ids, array.after)
    }
    assert waited == {p.run.id: set(p.run.parents) for p in plan.runs}


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_one_child_per_element_waits_element_by_element_in_one_expression(size):
    shape = {f"a{i}": () for i in range(5)} | {f"b{i}": (f"a{i}",) for i in (1, 0, 2, 4, 3)}
    arrays = arrays_of(plan_of(shape), config=config_in_nothing(Site(max_array_size=size)), live={})
    assert all(len(array.run_ids) <= size for array in arrays)
    jobs = {
        run_id: f"{number}_{i}"
        if len(array.run_ids) > 1
        else f"{number}"  # submitit does not make an array of one
        for number, array in enumerate(arrays)
        for i, run_id in enumerate(array.run_ids)
    }
    parents, children = arrays[: len(arrays) // 2], arrays[len(arrays) // 2 :]
    words = [
        f"aftercorr:{number}" if len(array.run_ids) > 1 else f"afterok:{number}"
        for number, array in enumerate(parents)
    ]
    assert [dependency(array, jobs) for array in children] == words


def test_dependencies_in_the_notation_of_slurm():
    jobs = {}

    def words(shape, **waves):
        plan = plan_of(shape, **waves)
        jobs.update({ids(plan)["a"]: "41_0", ids(plan)["b"]: "41_1"})
        return [
            dependency(array, jobs)
            for array in arrays_of(plan, config=config_in_nothing(Site()), live={})
        ]

    assert words({"a": (), "b": (), "x": ("a",), "y": ("b",)}) == ["", "aftercorr:41"]
    assert words({"a": (), "b": (), "y": ("b", "a"), "z": ("a", "b")}) == ["", "afterok:41_0:41_1"]
    mixed = words(
        {"a": (), "b": (), "c": (), "x": ("a",), "z": ("a", "b")},
        waves=(("a", "b"), ("c", "x", "z")),
    )
    assert mixed == ["", ("", "afterok:41_0", "afterok:41_0:41_1")]


def test_children_in_another_order_have_a_dependency_each():
    plan = plan_of({"a": (), "b": (), "y": ("a",), "z": ("b",)})
    _, children = arrays_of(plan, config=config_in_nothing(Site()), live={})
    jobs = {ids(plan)["a"]: "41_1", ids(plan)["b"]: "41_0"}
    assert dependency(children, jobs) == ("afterok:41_1", "afterok:41_0")
    assert dependency(children, {ids(plan)["a"]: "41_0", ids(plan)["b"]: "42_1"}) == (
        "afterok:41_0",
        "afterok:42_1",
    )
    assert dependency(children, {ids(plan)["a"]: "41", ids(plan)["b"]: "42"}) == (
        "afterok:41",
        "afterok:42",
    )
