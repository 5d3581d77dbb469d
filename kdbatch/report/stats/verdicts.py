"""Decides the verdict of a claim from its comparisons, alone and among all claims of a report.

Effects are oriented so that a positive one supports the claim, and a negative one supports a
negated claim. A claim over several comparisons holds when each of them clears the threshold with
its own interval (the intersection-union test keeps the level), and fails when one misses it with an
interval widened for the number of comparisons (Bonferroni). Between the two it is undecided. With
one seed it is neither: the variation between trainings is not known.

A report that checks many claims finds some of them decided by chance. Holm's step-down correction
over the claims of the report keeps the probability of any wrong verdict below 5 % (Holm 1979).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kdbatch.report.stats.bootstrap import CONFIDENCE_LEVEL
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.vocab.plans.declarations import MAP_CLAIMS, Claim

ClaimVerdict = Literal["holds", "fails", "undecided", "one-seed", "not-yet"]
VERDICTS: tuple[ClaimVerdict, ...] = ("holds", "fails", "undecided", "one-seed", "not-yet")
MIN_VIDEO_GROUPS = 20  # with fewer, resampled groups of videos do not represent others
# Standard deviation between trainings of a published accuracy, in points: assumed, as papers of one
# seed do not state it.
PUBLISHED_SEED_SD = 0.6
_LEVEL = 1 - CONFIDENCE_LEVEL


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A verdict, its reason, and the two-sided p-value of the nearer side.

    `p_value` is None where the comparisons cannot be judged, or only those of one seed.
    """

    verdict: ClaimVerdict
    why: str
    p_value: float | None = None


def decide_verdict(
    claim: Claim, comparisons: Sequence[Comparison], *, num_missing: int
) -> Decision:
    """Return the verdict of a claim; `num_missing` comparisons have no results yet."""
    if obstacle := _obstacle(comparisons, num_missing):
        return obstacle
    has_one_seed = any(c.num_seeds == 1 for c in comparisons)
    if any(c.low is None for c in comparisons):
        return _without_interval(claim, has_one_seed=has_one_seed)
    num_groups = min((c.num_groups for c in comparisons if c.num_groups), default=MIN_VIDEO_GROUPS)
    if num_groups < MIN_VIDEO_GROUPS:
        few = "test videos" if _are_single(comparisons) else "groups of test videos"
        why = f"Fewer than {MIN_VIDEO_GROUPS} {few}: too few to represent others."
        return Decision(verdict="one-seed" if has_one_seed else "undecided", why=why)
    judge = (
        _compare_with_published
        if claim.kind == "agrees_with_published"
        else _compare_with_threshold
    )
    decision = judge(claim, comparisons)
    if has_one_seed:
        why = (
            f"{decision.why} That is the interval over videos: one seed does not show the "
            "variation between trainings."
        )
        return Decision(verdict="one-seed", why=why)
    return decision


def correct_p_values(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values: a claim is decided where its own is at most 0.05.

    In increasing order, each p-value times the number of those that are not smaller, and at least
    the adjusted one before it (Holm 1979, doi:10.2307/4615733).
    """
    order = np.argsort(p_values, kind="stable")
    factors = len(p_values) - np.arange(len(p_values))
    stepped = np.maximum.accumulate(np.asarray(p_values, dtype=np.float64)[order] * factors)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted.tolist()


def verdict_at(verdict: ClaimVerdict, p_value: float | None) -> ClaimVerdict:
    """Return the verdict after correction: undecided where the corrected p-value is too high."""
    return verdict if p_value is None or p_value <= _LEVEL else "undecided"


def deciding_comparison(comparisons: Sequence[Comparison], threshold: float) -> Comparison | None:
    """Return the comparison that decides, or None where there is none.

    It is the one with the smallest effect; where some comparisons miss the threshold, the smallest
    of those.
    """
    missed = [c for c in comparisons if _misses(c, threshold, num_comparisons=len(comparisons))]
    return min(missed or comparisons, key=lambda c: c.effect, default=None)


def claim_threshold(claim: Claim) -> float:
    """Return the effect that a claim states at least: its points, or 0."""
    return claim.points or 0.0


def published_tolerance(claim: Claim) -> float:
    """Return how far a published gain may lie from the true one, in points.

    Twice (1.96 times) its standard error: an accuracy has the variance of a share of `videos`
    videos, at most 1/4 of one video's, and that of one training; the gain is over a mean.
    """
    assert claim.videos and claim.than
    variance = 100**2 / 4 / claim.videos + PUBLISHED_SEED_SD**2
    return 1.96 * (variance * (1 + 1 / len(claim.than))) ** 0.5


def _obstacle(comparisons: Sequence[Comparison], num_missing: int) -> Decision | None:
    """Return the verdict where comparisons are missing, otherwise None."""
    num_comparisons = num_missing + len(comparisons)
    if not num_comparisons:
        return Decision(verdict="not-yet", why="This study has no runs for this claim.")
    if num_missing:
        why = f"{num_missing} of {num_comparisons} comparisons wait for results."
        return Decision(verdict="not-yet", why=why)
    return None


def _without_interval(claim: Claim, *, has_one_seed: bool) -> Decision:
    if claim.kind == "blocks_lower_accuracy":
        why = "The maps are too few, or all alike: a correlation of them has no interval."
    elif claim.kind in MAP_CLAIMS:
        why = (
            "One seed gives no spread between trainings, so the difference of two maps has no "
            "interval. A map's z only tells whether that map has blocks. Run more seeds."
        )
    else:
        why = (
            "Some runs have no usable per-video predictions, and there are no two seeds to "
            "compare: no interval."
        )
    return Decision(verdict="one-seed" if has_one_seed else "undecided", why=why)


def _are_single(comparisons: Sequence[Comparison]) -> bool:
    return all(c.num_groups == c.num_videos for c in comparisons)


def _misses(comparison: Comparison, threshold: float, *, num_comparisons: int) -> bool:
    """Return whether the interval, widened for `num_comparisons`, lies below the threshold."""
    return comparison.tail_above(threshold) * num_comparisons <= _LEVEL / 2


def _compare_with_threshold(claim: Claim, comparisons: Sequence[Comparison]) -> Decision:
    threshold, num = claim_threshold(claim), len(comparisons)
    inclusive = claim.kind == "mean_gain_at_least"
    clears = max(c.tail_below(threshold, inclusive=inclusive) for c in comparisons)
    nearest_miss = min(c.tail_above(threshold) for c in comparisons)
    misses = min(1.0, num * nearest_miss)
    p_value = min(1.0, 2 * min(clears, misses))

    def decision(verdict: ClaimVerdict, why: str) -> Decision:
        return Decision(verdict=verdict, why=why, p_value=p_value)

    if clears <= _LEVEL / 2:
        subject = "The interval clears" if num == 1 else "Every interval clears"
        why = f"{subject} the threshold."
        if claim.negated:
            return decision("fails", f"{why} The claim is that it does not.")
        return decision("holds", why)
    if misses <= _LEVEL / 2:
        subject = "The interval lies" if num == 1 else "At least one interval lies"
        why = f"{subject} on the other side."
        if claim.negated:
            return decision("holds", f"{why} That is what the claim states.")
        return decision("fails", why)
    if num == 1:
        return decision("undecided", "The interval includes the threshold.")
    if nearest_miss <= _LEVEL / 2:
        why = (
            f"An interval lies on the other side, but not when it is widened for {num} comparisons."
        )
        return decision("undecided", why)
    return decision("undecided", "At least one interval includes the threshold.")


def _compare_with_published(claim: Claim, comparisons: Sequence[Comparison]) -> Decision:
    """Holds where the interval lies within the tolerance of the published gain, fails outside.

    Two one-sided tests on either side (Schuirmann 1987, doi:10.1007/BF01068419).
    """
    (found,) = comparisons
    published, tolerance = claim_threshold(claim), published_tolerance(claim)
    low, high = published - tolerance, published + tolerance
    agrees = max(found.tail_below(low, inclusive=True), found.tail_above(high))
    differs = min(found.tail_above(low), found.tail_below(high, inclusive=False))
    p_value = min(1.0, 2 * min(agrees, differs))
    near = f"{tolerance:.1f} points of the published gain"
    if agrees <= _LEVEL / 2:
        return Decision(verdict="holds", why=f"The interval lies within {near}.", p_value=p_value)
    if differs <= _LEVEL / 2:
        why = f"No part of the interval lies within {near}."
        return Decision(verdict="fails", why=why, p_value=p_value)
    why = f"Only a part of the interval lies within {near}."
    return Decision(verdict="undecided", why=why, p_value=p_value)
