import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from kdbatch.report.stats.bootstrap import percentile_interval
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.report.stats.contrasts import ClaimRoles
from kdbatch.report.stats.correlations import correlate_maps
from kdbatch.report.stats.verdicts import decide_verdict
from kdbatch.vocab.plans.declarations import Claim, Map
from kdbatch.vocab.plans.records import Cell, PlanRecord

CLAIM = Claim(id="c", says="", kind="blocks_lower_accuracy", who="student")
SEEDS = (0, 1, 2)
Values = dict[tuple[str, str], float]


def record_of(num_maps: int) -> PlanRecord:
    """A student in as many cases, half of them of each network, with its maps."""
    cases = [{"task": f"t{i}", "network": f"n{i % 2}"} for i in range(num_maps)]
    cells = [
        Cell(role=role, case=case, seed=seed, run_id=f"{prefix}{i}s{seed}")
        for i, case in enumerate(cases)
        for seed in SEEDS
        for role, prefix in (("student", "net"), (f"map:m{i}", "map"))
    ]
    maps = tuple(
        Map(id=f"m{i}", title=f"m{i}", models=("student",), at=dict(case))
        for i, case in enumerate(cases)
    )
    return PlanRecord(
        experiment="e",
        title="",
        profile="p",
        source="e.yaml",
        axes={},
        roles={},
        tables=(),
        maps=maps,
        claims=(CLAIM,),
        cells=tuple(cells),
    )


def values_of(num_maps: int, accuracy: Callable[[float, int], float]) -> Values:
    """Block indexes from 0 on, and the accuracy that each case has for it."""
    values: Values = {}
    for i in range(num_maps):
        for seed in SEEDS:
            blocks = 0.01 * i
            values[f"map{i}s{seed}", "block_index"] = blocks + 0.001 * (seed - 1)
            values[f"net{i}s{seed}", "top1"] = accuracy(blocks, i) + (seed - 1)
    return values


def correlate(values: Values, num_maps: int, claim: Claim = CLAIM) -> Comparison | None:
    roles = ClaimRoles(
        record=record_of(num_maps), claim=claim, value=lambda run, name: values.get((run, name))
    )
    return correlate_maps(roles)


def noisy(slope: float) -> Callable[[float, int], float]:
    noise = np.random.default_rng(1).standard_normal(40)
    return lambda blocks, i: 80 + slope * blocks + float(noise[i])


@pytest.mark.parametrize(
    ("slope", "verdict"), [(-100.0, "holds"), (0.0, "undecided"), (100.0, "fails")]
)
def test_fewer_blocks_with_higher_accuracy_support_the_claim(slope: float, verdict: str) -> None:
    found = correlate(values_of(12, noisy(slope)), 12)
    assert found is not None and found.low is not None and found.high is not None
    assert found.num_seeds == 3 and found.low < found.effect < found.high
    assert decide_verdict(CLAIM, [found], num_missing=0).verdict == verdict


@pytest.mark.parametrize(
    ("num_maps", "level", "smallest"),
    [(8, 0.05, 0.7067), (8, 0.001, 0.9249), (12, 0.05, 0.5760), (12, 0.001, 0.8233)],
)
def test_a_correlation_is_significant_from_the_critical_value_of_tables_on(
    num_maps: int, level: float, smallest: float
) -> None:
    """The values are from Fisher and Yates's table. Normal errors of z would take .905 at .001."""
    for value, is_significant in ((smallest - 0.004, False), (smallest + 0.004, True)):
        found = correlate(correlated(value, num_maps), num_maps)
        assert found is not None and found.replicates_R is not None
        assert found.effect == pytest.approx(value)
        low, _ = percentile_interval(found.replicates_R, level=1 - level)
        assert (low > 0) == is_significant


def correlated(value: float, num_maps: int) -> Values:
    """Maps whose accuracy has exactly this correlation with fewer blocks."""
    first, second = np.random.default_rng(0).standard_normal((2, num_maps))
    first -= first.mean()
    second -= second.mean() + first * (second @ first) / (first @ first)
    mixed = -value * first / np.linalg.norm(first) + (1 - value**2) ** 0.5 * second / (
        np.linalg.norm(second)
    )
    blocks = {
        (f"map{i}s{s}", "block_index"): float(first[i]) for i in range(num_maps) for s in SEEDS
    }
    return blocks | {
        (f"net{i}s{s}", "top1"): float(mixed[i]) for i in range(num_maps) for s in SEEDS
    }


def test_the_interval_is_that_of_fisher_with_students_errors() -> None:
    values = values_of(12, noisy(-10.0))
    found = correlate(values, 12)
    means = [
        [np.mean([values[f"{run}{i}s{s}", name] for s in SEEDS]) for i in range(12)]
        for run, name in (("map", "block_index"), ("net", "top1"))
    ]
    expected = -float(np.asarray(np.corrcoef(means[0], means[1]))[0, 1])
    assert found is not None and found.effect == pytest.approx(expected)
    half = np.arcsinh(2.22814 / 10**0.5)  # Student's t of 10 degrees of freedom, 97.5 %
    assert (found.low, found.high) == pytest.approx(
        (np.tanh(np.arctanh(expected) - half), np.tanh(np.arctanh(expected) + half)), abs=0.002
    )


def test_two_networks_alone_are_no_correlation_within_each() -> None:
    """One network has all the blocks and the low accuracy; within each there is no relation."""
    values: Values = {}
    noise = np.random.default_rng(0).standard_normal((2, 12))
    for i in range(12):
        for seed in SEEDS:
            values[f"map{i}s{seed}", "block_index"] = 0.2 * (i % 2) + 0.01 * float(noise[0, i])
            values[f"net{i}s{seed}", "top1"] = 80 - 10 * (i % 2) + float(noise[1, i])
    over_all = correlate(values, 12)
    within = correlate(values, 12, dataclasses.replace(CLAIM, axis="network"))
    assert over_all is not None and over_all.low is not None and over_all.low > 0.5
    assert within is not None and within.low is not None and within.low < 0.0


def test_a_missing_run_and_too_few_maps_give_no_interval() -> None:
    values = values_of(4, noisy(-100.0))
    four = correlate(values, 4, dataclasses.replace(CLAIM, axis="network"))  # 4 - 3 - 1 degrees
    assert four is not None and four.low is None
    decided = decide_verdict(CLAIM, [four], num_missing=0)
    assert decided.verdict == "undecided" and "too few" in decided.why
    del values["net2s1", "top1"]
    assert correlate(values, 4) is None
