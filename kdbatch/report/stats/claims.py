"""Checks claims: their verdict, effect, 95 % interval, number of videos and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kdbatch.report.data.study import Study
from kdbatch.report.stats.bootstrap import Resampled, SeedDraws
from kdbatch.report.stats.comparisons import Comparison, compare_contrasts, compare_seeds
from kdbatch.report.stats.contrasts import ClaimContrasts, ClaimRoles, claim_contrasts
from kdbatch.report.stats.correctness import Evidence, resample_runs
from kdbatch.report.stats.correlations import correlate_maps
from kdbatch.report.stats.gains import GAIN_METRIC, gain_runs, gain_sets
from kdbatch.report.stats.verdicts import (
    ClaimVerdict,
    claim_threshold,
    correct_p_values,
    decide_verdict,
    deciding_comparison,
    verdict_at,
)
from kdbatch.vocab.metrics import is_percent
from kdbatch.vocab.plans.declarations import MAP_CLAIMS, Claim, ClaimKind
from kdbatch.vocab.plans.records import PlanRecord


@dataclass(frozen=True, kw_only=True)
class CheckedClaim:
    """A claim with its verdict and the evidence.

    `origin` tells a claim of a paper from one of the experiment's own. `weakest` is the comparison
    that decides, None while nothing can be compared. `num_missing` comparisons have no results yet.
    `corrected` is the verdict among all claims of the report, by the p-value `p_corrected`; until
    correct_verdicts was called, both are those of the claim alone.
    """

    claim: Claim
    experiment: str
    origin: str
    profile: str
    verdict: ClaimVerdict
    p_value: float | None
    corrected: ClaimVerdict
    p_corrected: float | None
    why: str
    unit: Literal["points", "index"]
    threshold: float
    weakest: Comparison | None
    comparisons: tuple[Comparison, ...]
    num_missing: int


def check_claims(
    record: PlanRecord, study: Study
) -> tuple[tuple[CheckedClaim, ...], tuple[str, ...]]:
    """Return every claim of an experiment, checked, and warnings about the evidence."""
    evidence = _gather_evidence(record, study)
    contrasts = []
    for claim in record.claims:
        roles = ClaimRoles(record=record, claim=claim, value=study.value)
        contrasts.append((roles, claim_contrasts(roles)))
    for metric, found in evidence.items():
        found.resampled.replicates.expect(_compared_runs(metric, contrasts))
        if metric == GAIN_METRIC:
            found.resampled.replicates.expect(gain_sets(record, study))
    checked = []
    for roles, compared in contrasts:
        metric = roles.claim.metric
        resampled = evidence[metric].resampled if metric in evidence else None
        checked.append(_judge(roles, _compare(roles, compared, resampled, SeedDraws())))
    return tuple(checked), tuple(w for found in evidence.values() for w in found.warnings)


def correct_verdicts(claims: Sequence[CheckedClaim]) -> list[CheckedClaim]:
    """Return the claims of a report with the verdicts that hold for all of them at once."""
    judged = [claim.p_value for claim in claims if claim.p_value is not None]
    p_values = iter(correct_p_values(judged))
    corrected = []
    for claim in claims:
        p_value = None if claim.p_value is None else next(p_values)
        verdict = verdict_at(claim.verdict, p_value)
        corrected.append(replace(claim, corrected=verdict, p_corrected=p_value))
    return corrected


def _gather_evidence(record: PlanRecord, study: Study) -> dict[str, Evidence]:
    """Resample, for each metric that claims compare, the runs of the roles that they name."""
    claims = [claim for claim in record.claims if claim.kind in _OF_ROLES]
    evidence = {}
    for metric in dict.fromkeys(claim.metric for claim in claims):
        roles: set[str] = set()
        for claim in record.claims:
            if claim.metric == metric:
                roles |= {claim.who, *claim.than}
        run_ids = [cell.run_id for cell in record.cells if cell.role in roles]
        also = gain_runs(record) if metric == GAIN_METRIC else ()
        evidence[metric] = resample_runs(study, run_ids, metric=metric, also=also)
    return evidence


def _compared_runs(
    metric: str, contrasts: Sequence[tuple[ClaimRoles, ClaimContrasts]]
) -> list[list[str]]:
    """The runs of each arm of the claims about a metric."""
    return [
        list(arm.runs.values())
        for roles, found in contrasts
        if roles.claim.metric == metric
        for contrast in found.compared
        for arm in contrast.weights
    ]


def _compare(
    roles: ClaimRoles,
    contrasts: ClaimContrasts,
    resampled: Resampled | None,
    draws: SeedDraws,
) -> list[Comparison | None]:
    if roles.claim.kind in MAP_CLAIMS:
        return _compare_maps(roles)
    if roles.claim.kind == "blocks_lower_accuracy":
        return [correlate_maps(roles)]
    return compare_contrasts(contrasts.compared, resampled, draws, others=contrasts.others)


def _judge(roles: ClaimRoles, compared: Sequence[Comparison | None]) -> CheckedClaim:
    claim = roles.claim
    comparisons = tuple(c for c in compared if c is not None)
    num_missing = len(compared) - len(comparisons)
    decision = decide_verdict(claim, comparisons, num_missing=num_missing)
    threshold = claim_threshold(claim)
    return CheckedClaim(
        claim=claim,
        experiment=roles.record.experiment,
        origin="claim of the source" if roles.record.sources else "claim",
        profile=roles.record.profile,
        verdict=decision.verdict,
        p_value=decision.p_value,
        corrected=decision.verdict,
        p_corrected=decision.p_value,
        why=decision.why,
        unit="points" if claim.kind in _OF_ROLES and is_percent(claim.metric) else "index",
        threshold=threshold,
        weakest=deciding_comparison(comparisons, threshold),
        comparisons=comparisons,
        num_missing=num_missing,
    )


def _compare_maps(roles: ClaimRoles) -> list[Comparison | None]:
    """Compare the map of `who` with each map of `than`, seed by seed.

    A block index is compared from high to low, so that fewer blocks support the claim.
    """
    claim = roles.claim
    metric, sign = _MAP_METRICS[claim.kind]
    own = roles.map_arm(claim.who, metric=metric)
    comparisons = []
    for name in claim.than:
        other = roles.map_arm(name, metric=metric)
        label = f"{'above' if sign > 0 else 'below'} {other.title}"
        high, low = (own, other) if sign > 0 else (other, own)
        comparisons.append(compare_seeds(label, high=high, low=low))
    return comparisons


_OF_ROLES: tuple[ClaimKind, ...] = (
    "beats",
    "best_at",
    "mean_gain_at_least",
    "agrees_with_published",
)
_MAP_METRICS: dict[ClaimKind, tuple[str, int]] = {
    "fewer_blocks_than": ("block_index", -1),
    "more_grid_than": ("grid_share", 1),
}
