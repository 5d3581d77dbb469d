"""Sentences of the source, checked: verdict, effect, 95 % interval, number of videos and seeds.

An effect is oriented so that positive favours the claim, and negative one that says "not". A claim
over several comparisons holds when each of them clears the threshold with its own interval (the
intersection-union test keeps the level), and fails when one misses it with an interval widened for
the number of comparisons (Bonferroni). Between the two it is undecided.
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdbatch.report.data.study import Study, matching_cells
from kdbatch.report.labels import case_title, value_title
from kdbatch.report.stats.bootstrap import Resampled, SeedDraws
from kdbatch.report.stats.comparisons import Arm, Comparison, compare_arms, compare_seeds
from kdbatch.report.stats.correctness import Evidence, resample_runs
from kdbatch.vocab.plans import Claim, ClaimKind, PlanRecord

ClaimVerdict = Literal["holds", "fails", "undecided", "not-yet"]
VERDICTS: tuple[ClaimVerdict, ...] = ("holds", "fails", "undecided", "not-yet")
MIN_VIDEOS = 20  # below, resampled videos say nothing of other videos


@dataclass(frozen=True, kw_only=True)
class CheckedClaim:
    """A claim and what the results say of it. `weakest` is the comparison that decides; None while
    nothing can be compared.
    """

    claim: Claim
    experiment: str
    profile: str
    verdict: ClaimVerdict
    why: str
    unit: Literal["points", "index"]
    threshold: float
    weakest: Comparison | None
    comparisons: tuple[Comparison, ...]
    num_missing: int


def check_claims(
    record: PlanRecord, study: Study
) -> tuple[tuple[CheckedClaim, ...], tuple[str, ...]]:
    """Every claim of an experiment, and warnings about the evidence."""
    evidence: dict[str, Evidence] = {}
    for metric in dict.fromkeys(c.metric for c in record.claims if c.kind != "fewer_blocks_than"):
        roles = {r for c in record.claims if c.metric == metric for r in (c.who, *c.than)}
        evidence[metric] = resample_runs(
            study, [c.run_id for c in record.cells if c.role in roles], metric=metric
        )
    checked = []
    for claim in record.claims:
        rng = np.random.default_rng(
            zlib.crc32(claim.id.encode())
        )  # a claim's seeds are drawn alike in every report
        resampled = evidence[claim.metric].resampled if claim.metric in evidence else None
        bench = _ClaimContext(
            record=record, study=study, claim=claim, resampled=resampled, draws=SeedDraws(rng=rng)
        )
        checked.append(_checked_claim(bench, _CHECKS[claim.kind](bench)))
    return tuple(checked), tuple(w for e in evidence.values() for w in e.warnings)


@dataclass(frozen=True, kw_only=True)
class _ClaimContext:
    """One claim with the evidence for it."""

    record: PlanRecord
    study: Study
    claim: Claim
    resampled: Resampled | None
    draws: SeedDraws

    def cases(self, role: str) -> list[dict[str, str]]:
        """Those that the claim speaks of."""
        found = {tuple(c.case.items()): c.case for c in self.record.cells if c.role == role}
        return [
            case
            for case in found.values()
            if all(case.get(axis) == value for axis, value in self.claim.at.items())
        ]

    def arm(self, role: str, case: dict[str, str], metric: str) -> Arm:
        runs = {cell.seed: cell.run_id for cell in matching_cells(self.record, role, case)}
        return Arm(
            title=self.title(role),
            runs=runs,
            values={s: self.study.value(r, metric) for s, r in runs.items()},
        )

    def title(self, role: str) -> str:
        if role.startswith("map:"):
            return next((m.title for m in self.record.maps if f"map:{m.id}" == role), role)
        return self.record.roles.get(role, role)


def _beats(bench: _ClaimContext) -> list[Comparison | None]:
    claim = bench.claim
    found = []
    for case in bench.cases(claim.who):
        for other in claim.than:
            arms = (
                bench.arm(claim.who, case, claim.metric),
                bench.arm(other, case | claim.than_at, claim.metric),
            )
            if not arms[1].runs:
                continue  # a role that this case does not have
            label = f"{case_title(case)}: above {bench.title(other)}" + _moved(claim)
            found.append(
                compare_arms(label, {arms[0]: 1.0, arms[1]: -1.0}, bench.resampled, bench.draws)
            )
    return found


def _moved(claim: Claim) -> str:
    return f" at {case_title(claim.than_at)}" if claim.than_at else ""


def _best_at(bench: _ClaimContext) -> list[Comparison | None]:
    claim = bench.claim
    cases = bench.cases(claim.who)
    found = []
    for case in cases:
        if case.get(claim.axis) != claim.value:
            continue
        rest = {a: v for a, v in case.items() if a != claim.axis}
        for other in cases:
            if other != case and {a: v for a, v in other.items() if a != claim.axis} == rest:
                arms = (
                    bench.arm(claim.who, case, claim.metric),
                    bench.arm(claim.who, other, claim.metric),
                )
                place = f"{case_title(rest)}: " if rest else ""
                label = f"{place}{value_title(claim.value)} above {value_title(other[claim.axis])}"
                found.append(
                    compare_arms(label, {arms[0]: 1.0, arms[1]: -1.0}, bench.resampled, bench.draws)
                )
    return found


def _mean_gain(bench: _ClaimContext) -> list[Comparison | None]:
    """One comparison: the average over cases of `who` minus the mean of `than`."""
    claim = bench.claim
    cases = bench.cases(claim.who)
    if not cases or not claim.than:
        return []
    weights: dict[Arm, float] = {}
    for case in cases:
        weights[bench.arm(claim.who, case, claim.metric)] = 1 / len(cases)
        others = [bench.arm(other, case | claim.than_at, claim.metric) for other in claim.than]
        weights |= {arm: -1 / (len(cases) * len(claim.than)) for arm in others}
    others = " and ".join(bench.title(r) for r in claim.than) + _moved(claim)
    label = f"{bench.title(claim.who)} above the mean of {others}" + (
        f", averaged over {len(cases)} cases" if len(cases) > 1 else ""
    )
    return [compare_arms(label, weights, bench.resampled, bench.draws)]


def _fewer_blocks(bench: _ClaimContext) -> list[Comparison | None]:
    """Block index of each other map minus that of `who`, seed by seed."""
    claim = bench.claim
    found = []
    own = bench.arm(f"map:{claim.who}", {}, "block_index")
    for other in claim.than:
        arm = bench.arm(f"map:{other}", {}, "block_index")
        found.append(
            compare_seeds(f"below {arm.title}", high=arm, low=own)
            if own.runs and arm.runs
            else None
        )
    return found


_CHECKS: dict[ClaimKind, Callable[[_ClaimContext], list[Comparison | None]]] = {
    "beats": _beats,
    "best_at": _best_at,
    "mean_gain_at_least": _mean_gain,
    "fewer_blocks_than": _fewer_blocks,
}


def _checked_claim(bench: _ClaimContext, found: Sequence[Comparison | None]) -> CheckedClaim:
    claim = bench.claim
    threshold = claim.points or 0.0
    comparisons = tuple(c for c in found if c is not None)
    num_missing = len(found) - len(comparisons)
    verdict, why = _verdict(claim, comparisons, num_missing, threshold)
    if verdict != "not-yet" and any(c.num_seeds == 1 and c.low is not None for c in comparisons):
        why += " One seed: what training again would change is not in it."
    return CheckedClaim(
        claim=claim,
        experiment=bench.record.experiment,
        profile=bench.record.profile,
        verdict=verdict,
        why=why,
        unit="index" if claim.kind == "fewer_blocks_than" else "points",
        threshold=threshold,
        weakest=deciding_comparison(comparisons, threshold),
        comparisons=comparisons,
        num_missing=num_missing,
    )


def deciding_comparison(comparisons: Sequence[Comparison], threshold: float) -> Comparison | None:
    """The smallest effect; where some comparisons lie on the other side, the smallest of theirs,
    for they decide.
    """
    missed = [c for c in comparisons if c.misses(threshold, num_comparisons=len(comparisons))]
    return min(missed or comparisons, key=lambda c: c.effect, default=None)


def _verdict(
    claim: Claim, comparisons: Sequence[Comparison], num_missing: int, threshold: float
) -> tuple[ClaimVerdict, str]:
    if not comparisons and not num_missing:
        return "not-yet", "Nothing that this study runs bears on it."
    if num_missing:
        return (
            "not-yet",
            f"{num_missing} of {num_missing + len(comparisons)} comparisons wait for results.",
        )
    if any(c.low is None for c in comparisons):
        return "undecided", _no_interval(claim)
    if any(0 < c.num_videos < MIN_VIDEOS for c in comparisons):
        return (
            "undecided",
            f"Fewer than {MIN_VIDEOS} test videos: too few to say anything of other videos.",
        )
    reaches = claim.kind == "mean_gain_at_least"
    if all(c.clears(threshold, inclusive=reaches) for c in comparisons):
        why = (
            "Every interval clears the threshold."
            if len(comparisons) > 1
            else "The interval clears the threshold."
        )
        return (
            ("fails", f"{why} The claim is that it does not.") if claim.negated else ("holds", why)
        )
    if any(c.misses(threshold, num_comparisons=len(comparisons)) for c in comparisons):
        why = (
            "At least one interval lies on the other side."
            if len(comparisons) > 1
            else "The interval lies on the other side."
        )
        return ("holds", f"{why} So the claim says.") if claim.negated else ("fails", why)
    if len(comparisons) == 1:
        return "undecided", "The interval includes the threshold."
    if any(c.misses(threshold, num_comparisons=1) for c in comparisons):
        return (
            "undecided",
            f"An interval lies on the other side, but not when it is widened for {len(comparisons)} comparisons.",
        )
    return "undecided", "At least one interval includes the threshold."


def _no_interval(claim: Claim) -> str:
    if claim.kind == "fewer_blocks_than":
        return (
            "One seed gives no spread: whether two maps differ by more than training twice would cannot be told. A map's z says only "
            "whether it has blocks at all. Run more seeds."
        )
    return "Some runs left no usable per-video predictions, and there are no two seeds to compare: no interval."
