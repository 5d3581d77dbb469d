"""Checks the claims of a source: verdict, effect, 95 % interval, number of videos and seeds."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from kdbatch.report.data.study import Study, cases_of, matching_cells
from kdbatch.report.labels import case_title, value_title
from kdbatch.report.stats.bootstrap import Resampled, SeedDraws
from kdbatch.report.stats.comparisons import (
    Arm,
    Comparison,
    Contrast,
    compare_arms,
    compare_contrasts,
    compare_seeds,
)
from kdbatch.report.stats.correctness import Evidence, resample_runs
from kdbatch.report.stats.verdicts import (
    ClaimVerdict,
    claim_threshold,
    correct_p_values,
    decide_verdict,
    deciding_comparison,
    verdict_at,
)
from kdbatch.vocab.metrics import is_percent
from kdbatch.vocab.plans import MAP_CLAIMS, Claim, ClaimKind, PlanRecord


@dataclass(frozen=True, kw_only=True)
class CheckedClaim:
    """A claim with its verdict and the evidence.

    `weakest` is the comparison that decides, None while nothing can be compared. `num_missing`
    comparisons have no results yet. `corrected` is the verdict among all claims of the report, by
    the p-value `p_corrected`; until correct_verdicts was called, both are those of the claim alone.
    """

    claim: Claim
    experiment: str
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
    checked = []
    for claim in record.claims:
        # Seeded by the claim's id, so that a claim has the same draws in every report.
        rng = np.random.default_rng(zlib.crc32(claim.id.encode()))
        resampled = evidence[claim.metric].resampled if claim.metric in evidence else None
        context = _ClaimContext(
            record=record, study=study, claim=claim, resampled=resampled, draws=SeedDraws(rng=rng)
        )
        checked.append(_check_claim(context))
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
    claims = [claim for claim in record.claims if claim.kind not in MAP_CLAIMS]
    evidence = {}
    for metric in dict.fromkeys(claim.metric for claim in claims):
        roles: set[str] = set()
        for claim in record.claims:
            if claim.metric == metric:
                roles |= {claim.who, *claim.than}
        run_ids = [cell.run_id for cell in record.cells if cell.role in roles]
        evidence[metric] = resample_runs(study, run_ids, metric=metric)
    return evidence


@dataclass(frozen=True, kw_only=True)
class _ClaimContext:
    """One claim with the evidence for it."""

    record: PlanRecord
    study: Study
    claim: Claim
    resampled: Resampled | None
    draws: SeedDraws

    def cases(self) -> list[dict[str, str]]:
        """Return the cases of the role `who` to which the claim applies."""
        fixed = self.claim.at.items()
        cases = cases_of(self.record, self.claim.who)
        return [case for case in cases if all(case.get(axis) == value for axis, value in fixed)]

    def arm(self, role: str, case: dict[str, str], *, metric: str = "") -> Arm:
        """Return a role in a case; without `metric` it is measured by the claim's metric."""
        runs = {cell.seed: cell.run_id for cell in matching_cells(self.record, role, case)}
        name = metric or self.claim.metric
        values = {seed: self.study.value(run, name) for seed, run in runs.items()}
        return Arm(title=self.title(role), runs=runs, values=values)

    def other_arm(self, role: str, case: dict[str, str]) -> Arm:
        """Return a role of the claim's `than`, in the case that `than_at` moves it to."""
        return self.arm(role, case | self.claim.than_at)

    def title(self, role: str) -> str:
        if role.startswith("map:"):
            maps = {f"map:{m.id}": m.title for m in self.record.maps}
            return maps.get(role, role)
        return self.record.roles.get(role, role)

    def than_at_text(self) -> str:
        than_at = self.claim.than_at
        return f" at {case_title(than_at)}" if than_at else ""


def _check_claim(context: _ClaimContext) -> CheckedClaim:
    claim = context.claim
    compared = _COMPARERS[claim.kind](context)
    comparisons = tuple(c for c in compared if c is not None)
    num_missing = len(compared) - len(comparisons)
    decision = decide_verdict(claim, comparisons, num_missing=num_missing)
    threshold = claim_threshold(claim)
    return CheckedClaim(
        claim=claim,
        experiment=context.record.experiment,
        profile=context.record.profile,
        verdict=decision.verdict,
        p_value=decision.p_value,
        corrected=decision.verdict,
        p_corrected=decision.p_value,
        why=decision.why,
        unit="points" if claim.kind not in MAP_CLAIMS and is_percent(claim.metric) else "index",
        threshold=threshold,
        weakest=deciding_comparison(comparisons, threshold),
        comparisons=comparisons,
        num_missing=num_missing,
    )


def _beats(context: _ClaimContext) -> list[Comparison | None]:
    """Compare `who` with each role of `than`, case by case or averaged over cases."""
    claim = context.claim
    contrasts: dict[str, list[Contrast]] = {}
    for role in claim.than:
        above = f"above {context.title(role)}{context.than_at_text()}"
        contrasts[above] = [
            Contrast(
                label=f"{case_title(case)}: {above}", weights={arm: 1.0, other: -1.0}, pool=role
            )
            for case in context.cases()
            for arm, other in [(context.arm(claim.who, case), context.other_arm(role, case))]
            if other.runs  # the plan need not have every role in every case
        ]
    return _compare_all(context, contrasts)


def _best_at(context: _ClaimContext) -> list[Comparison | None]:
    """Compare `who` at axis = value with `who` at each other value, the other axes being equal."""
    claim = context.claim
    cases = context.cases()
    contrasts: dict[str, list[Contrast]] = {}
    for case in cases:
        if case.get(claim.axis) != claim.value:
            continue
        rest = _without(case, claim.axis)
        for other in cases:
            if other != case and _without(other, claim.axis) == rest:
                prefix = f"{case_title(rest)}: " if rest else ""
                above = f"{value_title(claim.value)} above {value_title(other[claim.axis])}"
                weights = {context.arm(claim.who, case): 1.0, context.arm(claim.who, other): -1.0}
                contrast = Contrast(label=prefix + above, weights=weights, pool=claim.who)
                contrasts.setdefault(above, []).append(contrast)
    return _compare_all(context, contrasts)


def _compare_all(
    context: _ClaimContext, contrasts: dict[str, list[Contrast]]
) -> list[Comparison | None]:
    """Compare contrasts; with `averaged`, the mean over cases of those that have a label."""
    if context.claim.averaged:
        chosen = [_average(label, cases) for label, cases in contrasts.items() if cases]
    else:
        chosen = [contrast for cases in contrasts.values() for contrast in cases]
    return compare_contrasts(chosen, context.resampled, context.draws)


def _average(label: str, contrasts: Sequence[Contrast]) -> Contrast:
    if len(contrasts) > 1:
        label += f", averaged over {len(contrasts)} cases"
    weights = {
        arm: weight / len(contrasts)
        for contrast in contrasts
        for arm, weight in contrast.weights.items()
    }
    return Contrast(label=label, weights=weights)


def _without(case: dict[str, str], axis: str) -> dict[str, str]:
    return {a: value for a, value in case.items() if a != axis}


def _mean_gain(context: _ClaimContext) -> list[Comparison | None]:
    """Compare the average over cases of `who` with that of the mean of `than`: one comparison."""
    claim = context.claim
    cases = context.cases()
    if not cases or not claim.than:
        return []
    weights: dict[Arm, float] = {}
    for case in cases:
        weights[context.arm(claim.who, case)] = 1 / len(cases)
        for role in claim.than:
            weights[context.other_arm(role, case)] = -1 / (len(cases) * len(claim.than))
    others = " and ".join(context.title(role) for role in claim.than) + context.than_at_text()
    label = f"{context.title(claim.who)} above the mean of {others}"
    if len(cases) > 1:
        label += f", averaged over {len(cases)} cases"
    return [compare_arms(label, weights, context.resampled, context.draws)]


def _fewer_blocks(context: _ClaimContext) -> list[Comparison | None]:
    """Compare the block index of each map of `than` with that of `who`, seed by seed."""
    return _compare_maps(context, "block_index", sign=-1)


def _more_grid(context: _ClaimContext) -> list[Comparison | None]:
    """Compare the grid share of the map `who` with that of each map of `than`, seed by seed."""
    return _compare_maps(context, "grid_share", sign=1)


def _compare_maps(context: _ClaimContext, metric: str, *, sign: int) -> list[Comparison | None]:
    claim = context.claim
    own = context.arm(f"map:{claim.who}", {}, metric=metric)
    comparisons = []
    for name in claim.than:
        other = context.arm(f"map:{name}", {}, metric=metric)
        label = f"{'above' if sign > 0 else 'below'} {other.title}"
        high, low = (own, other) if sign > 0 else (other, own)
        comparisons.append(compare_seeds(label, high=high, low=low))
    return comparisons


_COMPARERS: dict[ClaimKind, Callable[[_ClaimContext], list[Comparison | None]]] = {
    "beats": _beats,
    "best_at": _best_at,
    "mean_gain_at_least": _mean_gain,
    "agrees_with_published": _mean_gain,
    "fewer_blocks_than": _fewer_blocks,
    "more_grid_than": _more_grid,
}
