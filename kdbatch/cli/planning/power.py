"""`kdbatch plan --power`: the effects that claims can decide, as text or as JSON."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kdbatch.base.errors import UserError
from kdbatch.base.text import plural
from kdbatch.cli.planning.grouped_videos import find_test_videos
from kdbatch.cli.planning.known_datasets import known_datasets
from kdbatch.cli.planning.outside_videos import outside_runs, outside_videos
from kdbatch.cli.planning.plan_text import TEXT_COLUMNS
from kdbatch.report.stats.power import MAX_SEEDS, TARGET_SHARE, ClaimPower, power_of_records
from kdbatch.report.stats.power_assumptions import PowerAssumptions, pooled_seed_sd
from kdbatch.result.read import read_rows
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import DATASETS, GroupedVideos
from kdbatch.vocab.plans.plan import Plan


@dataclass(frozen=True, kw_only=True)
class PowerRequest:
    """The flags of --power. `effect` is the named effect and `seed_sd` the standard deviation
    between seeds, in points; 0 is that none was typed.
    """

    effect: float = 0.0
    seed_sd: float = 0.0

    @property
    def words(self) -> str:
        """The flags as they were typed, after a space."""
        flags = (("--effect", self.effect), ("--seed-sd", self.seed_sd))
        return " --power" + "".join(f" {flag}={value:g}" for flag, value in flags if value)

    def lines(self, plan: Plan, config: Config) -> Iterator[str]:
        """Return the power of a plan as lines of at most 80 columns."""
        return power_lines(_power_of_plan(plan, config, self))

    def as_json(self, plan: Plan, config: Config) -> dict[str, Any]:
        """Return the power of a plan for a program; effects are in points."""
        return _as_json(_power_of_plan(plan, config, self))

    def check(self, *, wanted: bool) -> None:
        """Refuse flags that would be ignored without --power."""
        flag = "--effect" if self.effect else "--seed-sd" if self.seed_sd else ""
        if flag and not wanted:
            raise UserError(f"plan: {flag} belongs to --power. Add --power, or leave {flag} out.")


@dataclass(frozen=True, kw_only=True)
class PlanPower:
    """The power of every claim of a plan, with what it was computed from.

    `seed_sd_from` is typed, assumed, or learnt with `seed_degrees` of freedom from finished runs.
    """

    request: PowerRequest
    assumed: PowerAssumptions
    seed_sd_from: str
    seed_degrees: int
    claims: tuple[ClaimPower, ...]
    videos: tuple[GroupedVideos, ...]
    num_judged: int


def _power_of_plan(plan: Plan, config: Config, request: PowerRequest) -> PlanPower:
    """Compute the power of all claims of a plan; finished runs tell how much seeds vary."""
    videos = find_test_videos(plan, known_datasets(config)) | outside_videos(plan, config.runs_dir)
    assumed, source, degrees = PowerAssumptions(), "assumed", 0
    learnt = 0.0
    if not request.seed_sd:
        learnt, degrees = pooled_seed_sd(plan.records, _accuracies(plan, config), videos, assumed)
    if request.seed_sd:
        assumed, source = PowerAssumptions(seed_sd=request.seed_sd), "typed"
    elif degrees:
        assumed, source = PowerAssumptions(seed_sd=learnt), "learnt"
    claims = power_of_records(plan.records, videos, assumed, effect=request.effect)
    return PlanPower(
        request=request,
        assumed=assumed,
        seed_sd_from=source,
        seed_degrees=degrees,
        claims=tuple(claims),
        videos=tuple(dict.fromkeys(videos.values())),
        num_judged=sum(claim.is_judged for claim in claims),
    )


def _accuracies(plan: Plan, config: Config) -> dict[str, float]:
    """The top-1 of the plan's finished runs, in percent."""
    done = [planned.run.id for planned in plan.runs if planned.done]
    done += outside_runs(plan, config.runs_dir)
    rows = read_rows(config.runs_dir, done).frame if done else None
    if rows is None:
        return {}
    chosen = rows.filter((rows["name"] == "top1") & rows["value"].is_finite())
    return dict(zip(chosen["run_id"].to_list(), chosen["value"].to_list(), strict=True))


def _as_json(power: PlanPower) -> dict[str, Any]:
    """Return the power of all claims for a program; effects are in points."""
    named = power.request.effect or None
    return {
        "target_share": TARGET_SHARE,
        "corrected_for_claims": power.num_judged,
        "effect": named,
        "seed_sd": power.assumed.seed_sd,
        "seed_sd_from": power.seed_sd_from,
        "seed_sd_degrees": power.seed_degrees or None,
        "trainings_differ": power.assumed.trainings_differ,
        "recipes_differ": power.assumed.recipes_differ,
        "group_correlation": power.assumed.group_correlation,
        "test_videos": [asdict(videos) for videos in power.videos],
        "claims": [_claim_as_json(claim) for claim in power.claims],
    }


def _claim_as_json(power: ClaimPower) -> dict[str, Any]:
    return {
        "experiment": power.experiment,
        "claim": power.claim.id,
        "kind": power.claim.kind,
        "seeds": power.num_seeds or None,
        "comparisons": power.num_comparisons or None,
        "cases": power.num_cases or None,
        "smallest_effect": power.smallest,
        "smallest_effect_alone": power.smallest_alone,
        "share_at_effect": power.share,
        "seeds_needed": power.seeds_needed,
        "share_of_agreement": power.share_of_agreement,
        "why": power.why or None,
    }


def power_lines(power: PlanPower) -> Iterator[str]:
    """Return the lines about the power of a plan, at most 80 columns wide."""
    yield from _wrapped(
        f"Power: the smallest true effect, in points, that is decided in {TARGET_SHARE:.0%} of "
        "studies. alone: by the claim's own interval; report: after Holm's correction, as the "
        f"first of {plural(power.num_judged, 'claim')}, which is what the report counts. As more "
        "of them are decided, a little less will do."
    )
    yield ""
    yield from _assumption_lines(power)
    for experiment in dict.fromkeys(claim.experiment for claim in power.claims):
        of = [claim for claim in power.claims if claim.experiment == experiment]
        shown = [claim for claim in of if claim.num_comparisons]
        yield ""
        yield from _table_lines(experiment, shown, effect=power.request.effect)
        yield from _without_power([claim for claim in of if not claim.num_comparisons])
    yield ""
    yield from _legend_lines(power)


def _assumption_lines(power: PlanPower) -> Iterator[str]:
    assumed = power.assumed
    sources = {
        "typed": "as typed",
        "assumed": "assumed; --seed-sd=1 assumes 1 point",
        "learnt": f"learnt from finished runs, {power.seed_degrees} degrees of freedom",
    }
    yield f"Seeds    s.d. of {assumed.seed_sd:.2f} points between trainings,"
    yield f"         {sources[power.seed_sd_from]}"
    for videos in power.videos:
        about = "" if videos.counted else "about "
        size = f"{videos.num_videos:,} test videos in {about}{videos.num_groups:,.0f} groups"
        listed = "published" if videos.dataset in DATASETS else "listed in its folder"
        counted = "counted in the shards" if videos.split else "counted in finished runs"
        source = counted if videos.counted else listed
        yield f"Videos   {videos.title}: {size} ({source})"
    yield (
        f"         two trainings differ on {assumed.trainings_differ:.0%} of them, two recipes on "
        f"{assumed.recipes_differ:.0%},"
    )
    yield f"         correlation in a group {assumed.group_correlation:.1f}: assumed"


def _table_lines(experiment: str, powers: Sequence[ClaimPower], *, effect: float) -> Iterator[str]:
    header = ["seeds", "cases", "alone", "report"]
    if effect:
        header += [f"at {effect:g}", "need"]
    rows = [_row(power, has_effect=bool(effect)) for power in powers]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    names = [power.claim.id for power in powers]
    room = TEXT_COLUMNS - sum(widths) - 2 * len(widths)
    first = min(room, max(map(len, [experiment, *names]), default=0))
    for name, cells in zip([experiment, *names], [header, *rows], strict=True):
        line = "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        if len(name) > first:
            yield name
            name = ""
        yield f"{name:{first}}{line}"


def _row(power: ClaimPower, *, has_effect: bool) -> list[str]:
    cells = [str(power.num_seeds), str(power.num_cases)]
    cells += [_effect_text(power.smallest_alone), _effect_text(power.smallest)]
    if has_effect:
        cells.append("-" if power.share is None else f"{power.share:.0%}")
        cells.append(f">{MAX_SEEDS}" if power.seeds_needed is None else str(power.seeds_needed))
    return cells


def _effect_text(effect: float | None) -> str:
    return "-" if effect is None else f"{effect:.1f}"


def _without_power(powers: Sequence[ClaimPower]) -> Iterator[str]:
    by_reason: dict[str, list[str]] = {}
    for power in powers:
        by_reason.setdefault(power.why, []).append(power.claim.id)
    for why, names in by_reason.items():
        yield from _wrapped(f"No power is stated where {why}: {', '.join(names)}.", indent="  ")


def _legend_lines(power: PlanPower) -> Iterator[str]:
    yield from _wrapped(
        "Effects are above the claim's threshold, the same in every case. A claim about every case "
        "needs each of them; one on average over cases needs their mean."
    )
    if any(claim.num_seeds == 1 for claim in power.claims):
        yield "With one seed nothing is decided."
    agreeing = [c for c in power.claims if c.share_of_agreement is not None]
    if agreeing:
        shares = [c.share_of_agreement or 0.0 for c in agreeing]
        yield from _wrapped(
            "Of a published gain: how far from it the true one must be to differ. A gain that is "
            f"the published one is shown to agree in {_range_text(shares)} of studies."
        )
    if power.request.effect:
        yield from _wrapped(
            f"at {power.request.effect:g}: the share of studies that decide a true effect of so "
            f"many points. need: the seeds that decide it in {TARGET_SHARE:.0%}."
        )
    else:
        yield from _wrapped("--effect=2 adds the seeds that an effect of 2 points needs.")


def _range_text(shares: Sequence[float]) -> str:
    low, high = f"{100 * min(shares):.0f}", f"{100 * max(shares):.0f}"
    return f"{low} %" if low == high else f"{low} to {high} %"


def _wrapped(text: str, *, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text,
        TEXT_COLUMNS,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
