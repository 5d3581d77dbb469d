"""Does a claim decide the effect that `kdbatch plan --power` states, in 80 % of studies?"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from simulation.studies import GROUP_SIZES, NUM_VIDEOS, draw_study, plan_records
from simulation.world import World

from kdbatch.report.stats.claims import check_claims
from kdbatch.report.stats.power import ClaimPower, power_of_records
from kdbatch.report.stats.power_assumptions import PowerAssumptions
from kdbatch.vocab.datasets import GroupedVideos
from kdbatch.vocab.plans.records import PlanRecord

BASE = 78.0  # accuracy of every role but the one that gains
CLAIMS = (
    "two_networks_beat_one_on_average",
    "two_networks_beat_two_seeds",
    "two_sources_beat_one_on_average",
    "three_complexities_beat_one",
    "three_complexities_beat_three_seeds_on_average",
    "gain_vcop_over_labels_only",
    "r21d_student_not_above_labels_only_vcop",
)


@dataclass(frozen=True, kw_only=True)
class OneGain:
    """A world in which one role is `points` above all others."""

    role: str
    points: float

    def accuracy(self, role: str) -> float:
        """Return the true accuracy of a role in percent."""
        return BASE + (self.points if role == self.role else 0.0)


def stated_powers(num_seeds: int, world: World, *, effect: float = 0.0) -> dict[str, ClaimPower]:
    """The powers that a plan states of the claims of the shipped experiments, by claim."""
    records = plan_records(num_seeds)
    videos = {
        cell.run_id: _test_videos(cell.case.get("target", "ucf101"))
        for record in records
        for cell in record.cells
        if not cell.role.startswith("map:")
    }
    assumed = PowerAssumptions(seed_sd=world.seed_sd)
    found = power_of_records(records, videos, assumed, effect=effect)
    return {power.claim.id: power for power in found}


def _test_videos(target: str) -> GroupedVideos:
    size = float(np.mean(GROUP_SIZES[target]))
    num = NUM_VIDEOS[target]
    return GroupedVideos(dataset=target, split="test01", num_videos=num, num_groups=num / size)


def simulate_power(
    claim_id: str, points: float, *, world: World, num_seeds: int, num_studies: int, num_claims: int
) -> float:
    """Return the share of studies that decide a claim whose true effect is `points`.

    The claim is the first of `num_claims` of the report, in Holm's correction; 1 is the claim
    alone.
    """
    record = next(
        record for record in plan_records(num_seeds) if claim_id in {c.id for c in record.claims}
    )
    (claim,) = (claim for claim in record.claims if claim.id == claim_id)
    gains = OneGain(role=claim.who, points=-points if claim.negated else points)
    small = _only(record, claim_id)
    decided = 0
    for number in range(num_studies):
        rng = np.random.default_rng([number, num_seeds])
        study = draw_study((small,), gains, world, rng)
        ((checked,), _) = check_claims(small, study)
        assert checked.p_value is not None
        decided += checked.verdict == "holds" and checked.p_value * num_claims <= 0.05
    return decided / num_studies


def _only(record: PlanRecord, claim_id: str) -> PlanRecord:
    """The record with one claim and the runs of its roles."""
    (claim,) = (claim for claim in record.claims if claim.id == claim_id)
    roles = {claim.who, *claim.than}
    cells = tuple(cell for cell in record.cells if cell.role in roles)
    return replace(record, claims=(claim,), cells=cells)


def power_table(num_studies: int) -> Iterator[str]:
    """Yield the lines of the table in docs/STATISTICS.md."""
    world, num_seeds = World(), 3
    powers = stated_powers(num_seeds, world)
    num_claims = len(powers)
    yield (
        f"| claim, {num_seeds} seeds | comparisons | alone: effect | decided "
        f"| of {num_claims}: effect | decided |"
    )
    yield "|---|---:|---:|---:|---:|---:|"
    for claim_id in CLAIMS:
        power = powers[claim_id]
        assert power.smallest is not None and power.smallest_alone is not None
        shares = [
            simulate_power(
                claim_id,
                effect,
                world=world,
                num_seeds=num_seeds,
                num_studies=num_studies,
                num_claims=count,
            )
            for effect, count in ((power.smallest_alone, 1), (power.smallest, num_claims))
        ]
        yield (
            f"| `{claim_id}` | {power.num_comparisons} | {power.smallest_alone:.1f} | "
            f"{100 * shares[0]:.0f} % | {power.smallest:.1f} | {100 * shares[1]:.0f} % |"
        )
