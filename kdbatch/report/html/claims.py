"""Writes claims as HTML: verdict, sentence, effect with interval, a small plot per comparison."""

from collections.abc import Sequence

from kdbatch.base.text import plural
from kdbatch.report.escape import escape_html
from kdbatch.report.html.tables import runs_attribute
from kdbatch.report.labels import format_number, format_signed
from kdbatch.report.stats.claims import CheckedClaim
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.report.stats.verdicts import ClaimVerdict
from kdbatch.vocab.plans.declarations import ClaimKind

VERDICT_MARKS: dict[ClaimVerdict, tuple[str, str]] = {
    "holds": ("✓", "holds"),
    "fails": ("✕", "fails"),
    "undecided": ("?", "undecided"),
    "one-seed": ("1", "one seed"),
    "not-yet": ("…", "not yet"),
}
_PUBLISHED_WORDS: dict[ClaimVerdict, str] = {"holds": "agrees", "fails": "differs"}
_INDEX_NAMES: dict[ClaimKind, str] = {
    "fewer_blocks_than": "of block index",
    "more_grid_than": "of grid share",
    "blocks_lower_accuracy": "of correlation",
}
PLOT_WIDTH, PLOT_HEIGHT = 180, 18
MAX_OPEN_PLOTS = 4  # more comparisons are folded away


def verdict_badge(checked: CheckedClaim) -> str:
    """Return the corrected verdict as a word and a shape, so that colour is not needed."""
    verdict = checked.corrected
    mark, word = VERDICT_MARKS[verdict]
    if checked.claim.kind == "agrees_with_published":
        word = _PUBLISHED_WORDS.get(verdict, word)
    return f'<span class="badge {verdict}"><span aria-hidden="true">{mark}</span>{word}</span>'


def effect_text(checked: CheckedClaim) -> str:
    """Return `+4.1 points [+2.9, +5.3] (at least 3.0 claimed)`, of the deciding comparison."""
    weakest = checked.weakest
    if weakest is None:
        return ""
    unit = "points" if checked.unit == "points" else _INDEX_NAMES.get(checked.claim.kind, "")
    effect = format_signed(weakest.effect, digits=_digits(checked))
    return f"{effect} {unit} {_bounds(weakest, checked)}{_claimed(checked)}"


def interval_text(comparison: Comparison, *, digits: int) -> str:
    """Return `[+2.9, +5.3]`, or `identical on all 48 videos [-6.1, +6.1]`."""
    if comparison.low is None or comparison.high is None:
        return "[no interval]"
    ends = (comparison.low, comparison.high)
    low, high = (format_signed(end, digits=digits) for end in ends)
    same = f"identical on all {comparison.num_videos} videos "
    return f"{same if comparison.is_identical else ''}[{low}, {high}]"


def claim_html(checked: CheckedClaim) -> str:
    """Return one claim with its evidence."""
    claim = checked.claim
    says = f'<p class="says">{escape_html(claim.says)}</p>'
    head = f"<header>{verdict_badge(checked)}{says}</header>"
    parts = [head, _effect_html(checked), _detail_html(checked), _plots(checked)]
    anchor = escape_html(claim_anchor(checked))
    return f'<article class="claim" id="{anchor}">{"".join(parts)}</article>'


def claim_anchor(checked: CheckedClaim) -> str:
    """Return the id of the claim, to which links on the page lead."""
    return f"claim-{checked.experiment}-{checked.profile}-{checked.claim.id}"


def _effect_html(checked: CheckedClaim) -> str:
    text = effect_text(checked)
    if not text:
        return ""
    note = ""
    if len(checked.comparisons) > 1:
        note = '<span class="faint"> (the weakest of its comparisons)</span>'
    sides = checked.weakest.sides if checked.weakest else ()
    return f'<p class="effect"><b{runs_attribute(*sides)}>{escape_html(text)}</b>{note}</p>'


def _detail_html(checked: CheckedClaim) -> str:
    origin = "control" if checked.claim.control else checked.origin
    facts = " · ".join(part for part in (origin, _basis(checked), _p_values(checked)) if part)
    why = checked.why
    if checked.corrected != checked.verdict:
        why += " Among all claims of this report, that may be chance: undecided."
    return f'<p class="faint">{escape_html(facts)}. {escape_html(why)}</p>'


def _p_values(checked: CheckedClaim) -> str:
    if checked.p_value is None or checked.p_corrected is None:
        return ""
    return f"p {_p_text(checked.p_value)}, corrected {_p_text(checked.p_corrected)}"


def _p_text(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def _basis(checked: CheckedClaim) -> str:
    """Return the numbers of test videos and seeds."""
    weakest = checked.weakest
    if weakest is None:
        return ""
    seeds = plural(weakest.num_seeds, "seed")
    if not weakest.num_videos:
        return seeds
    videos = plural(weakest.num_videos, "test video")
    if weakest.num_groups < weakest.num_videos:
        videos += f" in {plural(weakest.num_groups, 'group')}"
    return f"{videos}, {seeds}"


def _plots(checked: CheckedClaim) -> str:
    if not checked.comparisons:
        return ""
    scale = _plot_scale(checked.comparisons, checked.threshold)
    rows = "".join(_plot_row(c, checked, scale) for c in checked.comparisons)
    table = f'<div class="scroll"><table class="forest"><tbody>{rows}</tbody></table></div>'
    if len(checked.comparisons) <= MAX_OPEN_PLOTS:
        return table
    summary = f"<summary>All {len(checked.comparisons)} comparisons</summary>"
    return f"<details>{summary}{table}</details>"


def _plot_row(comparison: Comparison, checked: CheckedClaim, scale: tuple[float, float]) -> str:
    plot = _plot(comparison, checked.threshold, *scale)
    effect = escape_html(format_signed(comparison.effect, digits=_digits(checked)))
    bounds = escape_html(_bounds(comparison, checked))
    return (
        f'<tr><th scope="row">{escape_html(comparison.label)}</th><td class="plot">{plot}</td>'
        f'<td class="num"{runs_attribute(*comparison.sides)}>{effect} '
        f'<span class="sd">{bounds}</span></td></tr>'
    )


def _plot(comparison: Comparison, threshold: float, low: float, high: float) -> str:
    """Return a dot (effect) on a line (interval); a vertical stroke marks the threshold."""

    def x(value: float) -> str:
        return f"{4 + (PLOT_WIDTH - 8) * (value - low) / (high - low):.1f}"

    middle = PLOT_HEIGHT / 2
    stroke_x = x(threshold)
    shapes = f'<line class="zero" x1="{stroke_x}" x2="{stroke_x}" y1="0" y2="{PLOT_HEIGHT}"/>'
    if comparison.low is not None and comparison.high is not None:
        ends = f'x1="{x(comparison.low)}" x2="{x(comparison.high)}"'
        shapes += f'<line class="range" {ends} y1="{middle}" y2="{middle}"/>'
    shapes += f'<circle cx="{x(comparison.effect)}" cy="{middle}" r="3.5"/>'
    size = f'viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" width="{PLOT_WIDTH}" height="{PLOT_HEIGHT}"'
    return f'<svg {size} aria-hidden="true">{shapes}</svg>'


def _plot_scale(comparisons: Sequence[Comparison], threshold: float) -> tuple[float, float]:
    """Return the smallest and the largest value of all plots of a claim."""
    values = [threshold]
    for comparison in comparisons:
        ends = (comparison.low, comparison.high, comparison.effect)
        values += [end for end in ends if end is not None]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 1, high + 1)


def _bounds(comparison: Comparison, checked: CheckedClaim) -> str:
    return interval_text(comparison, digits=_digits(checked))


def _claimed(checked: CheckedClaim) -> str:
    if checked.claim.kind == "mean_gain_at_least":
        return f" (at least {format_number(checked.threshold)} claimed)"
    if checked.claim.kind == "agrees_with_published":
        return f" ({format_number(checked.threshold, digits=2)} published)"
    return " (claimed not to be above)" if checked.claim.negated else ""


def _digits(checked: CheckedClaim) -> int:
    return 1 if checked.unit == "points" else 3
