"""Power: the smallest true effect that a claim's own rules decide in 80 % of studies.

Nothing is trained or drawn video by video: the errors of a claim's comparisons are normal, with the
covariance that their shared runs give them, and the interval of each is that of the report: the
bootstrap over groups of test videos, to which Student's t for the pooled spread of seeds is added.

A run's answers vary by recipe (in common for the seeds of one role in one case; videos of a group
alike), and by training (on its own for each run and video). The errors that all runs
have in common cancel. Teachers that two students share are left out: their errors would cancel,
too.

Axes: K drawn studies, C comparisons of a claim, A recipes (a role in a case).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from kdbatch.report.stats.arms import Contrast
from kdbatch.report.stats.bootstrap import CONFIDENCE_LEVEL
from kdbatch.report.stats.contrasts import ClaimContrasts, ClaimRoles, claim_contrasts
from kdbatch.report.stats.correctness import TOP_K
from kdbatch.report.stats.margins import MarginTable, reachable_tail
from kdbatch.report.stats.power_assumptions import PowerAssumptions
from kdbatch.report.stats.seed_spreads import num_independent
from kdbatch.report.stats.verdicts import published_tolerance
from kdbatch.vocab.datasets import GroupedVideos
from kdbatch.vocab.plans.declarations import MAP_CLAIMS, Claim
from kdbatch.vocab.plans.records import PlanRecord

TARGET_SHARE = 0.8
MAX_SEEDS = 50
NUM_DRAWS = 4000
_TAIL = (1 - CONFIDENCE_LEVEL) / 2


@dataclass(frozen=True, kw_only=True)
class ClaimPower:
    """The effects that a claim can decide, in points.

    `smallest` is the smallest true effect that the report decides in 80 % of studies, with Holm's
    correction as the first of the claims that are judged, and `smallest_alone` without it. They are
    None where nothing is decided, and `why` then says why. `share` of the studies decide the effect
    that was named, and `seeds_needed` decide it in 80 %; None is more than MAX_SEEDS.
    `share_of_agreement` is that of studies that show a gain to agree which is the published one.
    """

    experiment: str
    claim: Claim
    num_seeds: int = 0
    num_comparisons: int = 0
    num_cases: int = 0
    is_judged: bool = False
    smallest: float | None = None
    smallest_alone: float | None = None
    share: float | None = None
    seeds_needed: int | None = None
    share_of_agreement: float | None = None
    why: str = ""


def power_of_records(
    records: Sequence[PlanRecord],
    videos: Mapping[str, GroupedVideos],
    assumed: PowerAssumptions,
    *,
    effect: float = 0.0,
) -> list[ClaimPower]:
    """Return the power of every claim of these experiments, which one report checks together.

    `videos` are the test videos of each run; an `effect` above 0 is the one that is named.
    """
    powers = []
    judged = {(r.experiment, c.id) for r in records for c in r.claims if _has_runs(r, c)}
    for record in records:
        for claim in record.claims:
            is_judged = (record.experiment, claim.id) in judged
            found = ClaimPower(experiment=record.experiment, claim=claim, is_judged=is_judged)
            if why := _obstacle(claim, has_runs=is_judged):
                powers.append(replace(found, why=why))
                continue
            roles = ClaimRoles(record=record, claim=claim, value=lambda _run, _name: None)
            design = _Design.of(claim, claim_contrasts(roles), videos, assumed)
            found = replace(found, num_cases=_num_cases(roles))
            powers.append(_power(found, design, num_judged=len(judged), effect=effect))
    return powers


def _has_runs(record: PlanRecord, claim: Claim) -> bool:
    if claim.kind == "blocks_lower_accuracy":
        return any(drawn.models == (claim.who,) for drawn in record.maps)
    if claim.kind in MAP_CLAIMS:
        return any(cell.role == f"map:{claim.who}" for cell in record.cells)
    roles = ClaimRoles(record=record, claim=claim, value=lambda _run, _name: None)
    return bool(claim_contrasts(roles).compared)


def _obstacle(claim: Claim, *, has_runs: bool) -> str:
    """Return why no power can be stated for a claim; empty where it can."""
    if not has_runs:
        return "the profile has no runs for it"
    if claim.kind in MAP_CLAIMS:
        return "maps are compared, whose spread between seeds is not known beforehand"
    if claim.kind == "blocks_lower_accuracy":
        return "a correlation over maps is claimed, which depends on their number alone"
    if claim.metric not in TOP_K:
        return f"the spread of {claim.metric} between seeds is not known beforehand"
    return ""


def _num_cases(roles: ClaimRoles) -> int:
    """The cases that a claim is about; of best_at those of the other axes."""
    if roles.claim.kind != "best_at":
        return len(roles.cases())
    return sum(case.get(roles.claim.axis) == roles.claim.value for case in roles.cases())


@dataclass(frozen=True, kw_only=True, eq=False)
class _Design:
    """A claim's comparisons, independent of the number of seeds.

    `weight_CA` are the weights of recipes. A recipe's accuracy varies by `recipe_A` with the test
    videos and, in each training, by `training_A` with them and by `seed_A`; all are variances.
    The spread between seeds of a comparison is estimated from `free_C` independent ones of its pool
    `pool_C`, as the variance of one training, `pooled_C`.
    """

    claim: Claim
    num_seeds: int
    weight_CA: np.ndarray
    recipe_A: np.ndarray
    training_A: np.ndarray
    seed_A: np.ndarray
    pool_C: tuple[str, ...]
    free_C: np.ndarray
    pooled_C: np.ndarray

    @classmethod
    def of(
        cls,
        claim: Claim,
        contrasts: ClaimContrasts,
        videos: Mapping[str, GroupedVideos],
        assumed: PowerAssumptions,
    ) -> "_Design":
        compared = contrasts.compared
        single = [p for c in (*compared, *contrasts.others) for p in (c.parts or (c,))]
        pools = {name: [c for c in single if c.pool == name] for name in {c.pool for c in single}}
        recipes = list(dict.fromkeys(_recipe(arm.runs) for c in single for arm in c.weights))
        of_recipe = [videos[runs[0]] for runs in recipes]
        training_A = np.array([assumed.training_variance(v) for v in of_recipe])
        seed_A = np.full(len(recipes), assumed.seed_sd**2)
        pooled = {
            name: _variance_of_training(_weights(parts, recipes), training_A + seed_A)
            for name, parts in pools.items()
        }
        return cls(
            claim=claim,
            num_seeds=min(len(arm.runs) for c in compared for arm in c.weights),
            weight_CA=_weights(compared, recipes),
            recipe_A=np.array([assumed.recipe_variance(v) for v in of_recipe]),
            training_A=training_A,
            seed_A=seed_A,
            pool_C=tuple(c.pool for c in compared),
            free_C=np.array([num_independent(pools[c.pool]) for c in compared]),
            pooled_C=np.array([pooled[c.pool] for c in compared]),
        )

    def error_KC(self, num_seeds: int, rng: np.random.Generator) -> np.ndarray:
        """Draw the errors of the comparisons' effects."""
        variance_A = self.recipe_A + (self.training_A + self.seed_A) / num_seeds
        normal_KA = rng.standard_normal((NUM_DRAWS, len(variance_A)))
        return normal_KA * variance_A**0.5 @ self.weight_CA.T

    def margin_KC(self, num_seeds: int, tail: float, rng: np.random.Generator) -> np.ndarray:
        """Draw how far above its threshold each effect must be, for a tail of its interval."""
        video_C = ((self.weight_CA**2) @ (self.recipe_A + self.training_A / num_seeds)) ** 0.5
        norm_C = np.linalg.norm(self.weight_CA, axis=1)
        seed_C = norm_C * (self.pooled_C / num_seeds) ** 0.5
        margin_KC = np.empty((NUM_DRAWS, len(video_C)))
        spread_of: dict[str, np.ndarray] = {}
        for i, pool in enumerate(self.pool_C):
            degrees = (num_seeds - 1) * self.free_C[i]
            if pool not in spread_of:
                spread_of[pool] = (rng.chisquare(degrees, NUM_DRAWS) / degrees) ** 0.5
            table = MarginTable.of(tail, round(float(degrees), 1))
            margin_KC[:, i] = table.margins(float(video_C[i]), seed_C[i] * spread_of[pool])
        return margin_KC


def _recipe(runs: Mapping[int, str]) -> tuple[str, ...]:
    return tuple(sorted(runs.values()))


def _weights(contrasts: Sequence[Contrast], recipes: Sequence[tuple[str, ...]]) -> np.ndarray:
    """The weight of each recipe in each contrast (CA)."""
    place = {recipe: i for i, recipe in enumerate(recipes)}
    weight_CA = np.zeros((len(contrasts), len(recipes)))
    for weight_A, contrast in zip(weight_CA, contrasts, strict=True):
        for arm, weight in contrast.weights.items():
            weight_A[place[_recipe(arm.runs)]] += weight
    return weight_CA


def _variance_of_training(weight_CA: np.ndarray, variance_A: np.ndarray) -> float:
    square_CA = weight_CA**2
    return float(np.mean(square_CA @ variance_A / square_CA.sum(1)))


def _power(found: ClaimPower, design: _Design, *, num_judged: int, effect: float) -> ClaimPower:
    num = design.num_seeds
    found = replace(found, num_seeds=num, num_comparisons=len(design.weight_CA))
    tail = reachable_tail(_TAIL / num_judged)
    if num > 1:
        corrected_K = _needed_effects(design, num, tail)
        alone = _needed_effects(design, num, reachable_tail(_TAIL))
        found = replace(
            found,
            smallest=_effect_decided(corrected_K),
            smallest_alone=_effect_decided(alone),
            share=float(np.mean(corrected_K <= effect)) if effect else None,
            share_of_agreement=_share_of_agreement(design, num, tail),
        )
    else:
        found = replace(found, why="with one seed nothing is decided")
    if effect:
        found = replace(found, seeds_needed=_seeds_needed(design, tail, effect))
    return found


def _needed_effects(design: _Design, num_seeds: int, tail: float) -> np.ndarray:
    """Draw studies; return the true effect from which each of them decides, shape (K,).

    All comparisons have the same true effect. A claim holds where every comparison clears the
    threshold, a negated one where one of them misses it with a widened interval, and a gain differs
    from the published one where it is outside of its tolerance.
    """
    rng = np.random.default_rng(0)
    error_KC = design.error_KC(num_seeds, rng)
    if design.claim.negated:
        tail = reachable_tail(tail / error_KC.shape[1])
        return (design.margin_KC(num_seeds, tail, rng) - error_KC).min(1)
    needed_K = (design.margin_KC(num_seeds, tail, rng) - error_KC).max(1)
    if design.claim.kind == "agrees_with_published":
        return needed_K + published_tolerance(design.claim)
    return needed_K


def _effect_decided(needed_K: np.ndarray) -> float | None:
    effect = float(np.quantile(needed_K, TARGET_SHARE, method="higher"))
    return effect if np.isfinite(effect) else None


def _share_of_agreement(design: _Design, num_seeds: int, tail: float) -> float | None:
    if design.claim.kind != "agrees_with_published":
        return None
    rng = np.random.default_rng(0)
    error_K = design.error_KC(num_seeds, rng)[:, 0]
    margin_K = design.margin_KC(num_seeds, tail, rng)[:, 0]
    return float(np.mean(np.abs(error_K) + margin_K < published_tolerance(design.claim)))


def _seeds_needed(design: _Design, tail: float, effect: float) -> int | None:
    """Return the smallest number of seeds that decides an effect in 80 % of studies."""

    def decides(num_seeds: int) -> bool:
        smallest = _effect_decided(_needed_effects(design, num_seeds, tail))
        return smallest is not None and smallest <= effect

    low, high = 1, MAX_SEEDS  # one seed decides nothing
    if not decides(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if decides(middle) else (middle, high)
    return high
