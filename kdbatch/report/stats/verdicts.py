"""Decides the verdict of a claim from its comparisons.

Effects are oriented so that a positive one supports the claim, and a negative one supports a
negated claim. A claim over several comparisons holds when each of them clears the threshold with
its own interval (the intersection-union test keeps the level), and fails when one misses it with an
interval widened for the number of comparisons (Bonferroni). Between the two it is undecided.
"""

from collections.abc import Sequence
from typing import Literal

from kdbatch.report.stats.comparisons import Comparison
from kdbatch.vocab.plans import Claim

ClaimVerdict = Literal["holds", "fails", "undecided", "not-yet"]
VERDICTS: tuple[ClaimVerdict, ...] = ("holds", "fails", "undecided", "not-yet")
MIN_VIDEOS = 20  # with fewer, resampled videos do not represent other videos


def decide_verdict(
    claim: Claim, comparisons: Sequence[Comparison], *, num_missing: int
) -> tuple[ClaimVerdict, str]:
    """Return the verdict and the reason; `num_missing` comparisons have no results yet."""
    verdict, why = _obstacle(claim, comparisons, num_missing) or _compare_with_threshold(
        claim, comparisons
    )
    has_one_seed = any(c.num_seeds == 1 and c.low is not None for c in comparisons)
    if verdict != "not-yet" and has_one_seed:
        why += " One seed: the interval does not include the variation between trainings."
    return verdict, why


def deciding_comparison(comparisons: Sequence[Comparison], threshold: float) -> Comparison | None:
    """Return the comparison that decides, or None where there is none.

    It is the one with the smallest effect; where some comparisons miss the threshold, the smallest
    of those.
    """
    missed = [c for c in comparisons if c.misses(threshold, num_comparisons=len(comparisons))]
    return min(missed or comparisons, key=lambda c: c.effect, default=None)


def claim_threshold(claim: Claim) -> float:
    """Return the effect that a claim states at least: its points, or 0."""
    return claim.points or 0.0


def _obstacle(
    claim: Claim, comparisons: Sequence[Comparison], num_missing: int
) -> tuple[ClaimVerdict, str] | None:
    """Return the verdict where the comparisons cannot be judged, otherwise None."""
    num_comparisons = num_missing + len(comparisons)
    if not num_comparisons:
        return "not-yet", "This study has no runs for this claim."
    if num_missing:
        return "not-yet", f"{num_missing} of {num_comparisons} comparisons wait for results."
    if any(c.low is None for c in comparisons):
        return _without_interval(claim)
    if any(0 < c.num_videos < MIN_VIDEOS for c in comparisons):
        why = f"Fewer than {MIN_VIDEOS} test videos: too few to represent other videos."
        return "undecided", why
    return None


def _without_interval(claim: Claim) -> tuple[ClaimVerdict, str]:
    if claim.kind == "fewer_blocks_than":
        return "undecided", (
            "One seed gives no spread between trainings, so the difference of two maps has no "
            "interval. A map's z only tells whether that map has blocks. Run more seeds."
        )
    return "undecided", (
        "Some runs have no usable per-video predictions, and there are no two seeds to compare: "
        "no interval."
    )


def _compare_with_threshold(
    claim: Claim, comparisons: Sequence[Comparison]
) -> tuple[ClaimVerdict, str]:
    threshold, num = claim_threshold(claim), len(comparisons)
    inclusive = claim.kind == "mean_gain_at_least"
    if all(c.clears(threshold, inclusive=inclusive) for c in comparisons):
        subject = "The interval clears" if num == 1 else "Every interval clears"
        why = f"{subject} the threshold."
        if claim.negated:
            return "fails", f"{why} The claim is that it does not."
        return "holds", why
    if any(c.misses(threshold, num_comparisons=num) for c in comparisons):
        subject = "The interval lies" if num == 1 else "At least one interval lies"
        why = f"{subject} on the other side."
        if claim.negated:
            return "holds", f"{why} That is what the claim states."
        return "fails", why
    if num == 1:
        return "undecided", "The interval includes the threshold."
    if any(c.misses(threshold, num_comparisons=1) for c in comparisons):
        return "undecided", (
            f"An interval lies on the other side, but not when it is widened for {num} comparisons."
        )
    return "undecided", "At least one interval includes the threshold."
