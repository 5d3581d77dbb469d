"""How often are the claims of the shipped experiments decided, rightly and wrongly?

Whole studies are drawn: every run of the first five experiments, with its test videos, in a world
whose truth is known, and their claims are checked by the report's own code.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import polars as pl
from simulation.world import Training, World, draw_correct, draw_groups

from kdbatch.plan.resolve import make_plan
from kdbatch.report.data.label_ranks import LabelRanks
from kdbatch.report.data.study import MeasuredValue, Study
from kdbatch.report.stats.claims import CheckedClaim, check_claims, correct_verdicts
from kdbatch.report.stats.verdicts import claim_threshold, published_tolerance
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.declarations import MAP_CLAIMS
from kdbatch.vocab.plans.records import Cell, PlanRecord

JOBS = Path(__file__).parents[2] / "jobs"
NUM_VIDEOS = {"ucf101": 3783, "hmdb51": 1530}
GROUP_SIZES = {"ucf101": (4, 7), "hmdb51": (1, 4)}
CORRELATION_SD = 0.02  # of the correlation of teachers' errors, between trainings
MAP_SD = 0.02  # of a map's block index and grid share, between trainings


@dataclass(frozen=True, kw_only=True)
class Truth:
    """True accuracies, in percent. Students gain over the same network with labels only.

    A student of one teacher gains `one_teacher`, one of several seeds `same_task`, and one of
    different teachers `student`.
    """

    title: str
    teacher: float = 72.0
    labels_only: float = 76.0
    one_teacher: float = 0.0
    same_task: float = 0.0
    student: float = 0.0

    def accuracy(self, role: str) -> float:
        if role.startswith("from_"):
            return self.labels_only + self.one_teacher
        gains = {"labels_only": 0.0, "same_task": self.same_task, "student": self.student}
        return self.labels_only + gains[role] if role in gains else self.teacher


TRUTHS = (
    Truth(title="nothing but the schedule helps"),
    Truth(title="+1 over one teacher", one_teacher=3.0, same_task=3.5, student=4.0),
    Truth(title="+3 over one teacher", one_teacher=3.0, same_task=3.5, student=6.0),
)
INFERENCES = ("two_networks", "three_complexities", "two_sources", "two_categories")


def plan_records(seeds: int) -> tuple[PlanRecord, ...]:
    """The records of the first five experiments at the profile paper, with this number of seeds:
    the accuracies of a world say nothing about losses.
    """
    files = [path for path in sorted(JOBS.glob("*.yaml")) if path.stem != "methods"]
    records = make_plan(files, profile="paper", config=Config()).records
    return tuple(replace(r, cells=tuple(_with_seeds(r.cells, seeds))) for r in records)


def _with_seeds(cells: Sequence[Cell], seeds: int) -> Iterator[Cell]:
    """The cells of seed 0, once for each seed."""
    for cell in cells:
        if cell.seed == 0:
            for seed in range(seeds):
                yield replace(cell, seed=seed, run_id=f"{cell.run_id}-{seed}")


class TrueAccuracy(Protocol):
    """The true accuracy of each role, in percent."""

    def accuracy(self, role: str) -> float: ...


def draw_study(
    records: tuple[PlanRecord, ...], truth: TrueAccuracy, world: World, rng: np.random.Generator
) -> Study:
    """Draw the results of every run."""
    measured: dict[tuple[str, str], MeasuredValue] = {}
    ranks: dict[str, LabelRanks] = {}
    for target, cells in _cells_by_target(records).items():
        smallest, largest = GROUP_SIZES[target]
        groups = draw_groups(NUM_VIDEOS[target], rng, smallest=smallest, largest=largest)
        keys = tuple(f"v{i:05d}" for i in range(len(groups)))
        runs = {
            run_id: Training(
                recipe=f"{cell.role} {cell.case}", accuracy=truth.accuracy(cell.role) / 100
            )
            for run_id, cell in cells.items()
        }
        for run_id, correct_N in draw_correct(runs, groups, world, rng).correct.items():
            percent = 100 * float(correct_N.mean())
            measured[run_id, "top1"] = MeasuredValue(value=percent, unit="percent", subset=target)
            ranks[run_id] = LabelRanks(
                keys=keys, groups=tuple(groups), rank_N=1 - correct_N.astype(np.int32)
            )
            noise = CORRELATION_SD * float(rng.standard_normal())
            measured[run_id, "teacher_error_correlation"] = MeasuredValue(
                value=0.5 + noise, unit="1", subset=target
            )
    for cell in (cell for record in records for cell in record.cells):
        if cell.role.startswith("map:"):
            for name in ("block_index", "grid_share"):
                value = 0.2 + MAP_SD * float(rng.standard_normal())
                measured[cell.run_id, name] = MeasuredValue(value=value, unit="1", subset="")
    return Study(
        runs_dir=Path("runs"),
        records=records,
        runs={},
        rows=pl.DataFrame(),
        measured=measured,
        label_ranks=ranks,
        warnings=(),
    )


def _cells_by_target(records: tuple[PlanRecord, ...]) -> dict[str, dict[str, Cell]]:
    """The run ids of each target data set, each with one of its cells. Maps are left out."""
    by_target: dict[str, dict[str, Cell]] = {}
    for cell in (cell for record in records for cell in record.cells):
        if not cell.role.startswith("map:"):
            target = cell.case.get("target", "ucf101")
            by_target.setdefault(target, {}).setdefault(cell.run_id, cell)
    return by_target


def is_true(checked: CheckedClaim, truth: Truth) -> bool:
    """Return whether the claim is true in a world where only the role sets the accuracy."""
    claim = checked.claim
    is_of_roles = bool(claim.than) and claim.metric == "top1"
    if claim.kind in MAP_CLAIMS or not is_of_roles or claim.kind == "best_at":
        return claim.negated  # all maps, all correlations, and all cases of a role are equal
    others = [truth.accuracy(role) for role in claim.than]
    own, threshold = truth.accuracy(claim.who), claim_threshold(claim)
    if claim.kind == "agrees_with_published":
        return abs(own - float(np.mean(others)) - threshold) <= published_tolerance(claim)
    if claim.kind == "mean_gain_at_least":
        return own - float(np.mean(others)) >= threshold
    return (own > max(others)) != claim.negated


def is_wrong(checked: CheckedClaim, verdict: str, truth: Truth) -> bool:
    """Return whether a verdict contradicts the truth; a true effect of exactly 0 may be either."""
    return verdict in ("holds", "fails") and (verdict == "holds") != is_true(checked, truth)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Shares of studies with a wrong verdict and in which each claim holds, alone and corrected."""

    any_wrong: float
    any_wrong_corrected: float
    num_claims: int
    holds: Mapping[str, float]
    holds_corrected: Mapping[str, float]


def simulate_studies(truth: Truth, *, num_seeds: int, num_studies: int) -> Outcome:
    """Draw studies and check all of their claims."""
    records = plan_records(num_seeds)
    wrong, wrong_corrected = 0, 0
    holds: Counter[str] = Counter()
    holds_corrected: Counter[str] = Counter()
    claims: list[CheckedClaim] = []
    for number in range(num_studies):
        rng = np.random.default_rng([number, num_seeds])
        study = draw_study(records, truth, World(), rng)
        claims = [claim for record in records for claim in check_claims(record, study)[0]]
        claims = correct_verdicts(claims)
        holds.update(claim.claim.id for claim in claims if claim.verdict == "holds")
        holds_corrected.update(claim.claim.id for claim in claims if claim.corrected == "holds")
        wrong += any(is_wrong(claim, claim.verdict, truth) for claim in claims)
        wrong_corrected += any(is_wrong(claim, claim.corrected, truth) for claim in claims)
    return Outcome(
        any_wrong=wrong / num_studies,
        any_wrong_corrected=wrong_corrected / num_studies,
        num_claims=len(claims),
        holds={claim.claim.id: holds[claim.claim.id] / num_studies for claim in claims},
        holds_corrected={
            claim.claim.id: holds_corrected[claim.claim.id] / num_studies for claim in claims
        },
    )


def studies_table(num_studies: int) -> Iterator[str]:
    """Yield two tables of docs/STATISTICS.md: wrong verdicts, and power of the inferences."""
    yield "| truth | seeds | claims | a wrong verdict, alone | corrected |"
    yield "|---|---:|---:|---:|---:|"
    outcomes = []
    for truth in TRUTHS:
        for num_seeds in (1, 3):
            found = simulate_studies(truth, num_seeds=num_seeds, num_studies=num_studies)
            outcomes.append((truth, num_seeds, found))
            yield (
                f"| {truth.title} | {num_seeds} | {found.num_claims} | "
                f"{100 * found.any_wrong:.0f} % | {100 * found.any_wrong_corrected:.0f} % |"
            )
    yield ""
    yield (
        "| claim, three seeds: holds alone, corrected | "
        + " | ".join(truth.title for truth in TRUTHS)
        + " |"
    )
    yield "|---|" + "---:|" * len(TRUTHS)
    by_truth = [found for _, num_seeds, found in outcomes if num_seeds == 3]
    for name in by_truth[0].holds:
        if name.startswith(INFERENCES) or "beats_labels_only" in name:
            shares = [
                f"{100 * found.holds[name]:.0f}, {100 * found.holds_corrected[name]:.0f} %"
                for found in by_truth
            ]
            yield f"| `{name}` | " + " | ".join(shares) + " |"
