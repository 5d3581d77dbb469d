"""Claims as HTML: a verdict in words and shape, the sentence, the effect with its interval, a small
plot per comparison.
"""

from collections.abc import Sequence

from kdbatch.base.text import plural
from kdbatch.report.escape import escape_html
from kdbatch.report.labels import format_number, format_signed
from kdbatch.report.stats.claims import CheckedClaim, ClaimVerdict
from kdbatch.report.stats.comparisons import Comparison

VERDICT_MARKS: dict[ClaimVerdict, tuple[str, str]] = {
    "holds": ("✓", "holds"),
    "fails": ("✕", "fails"),
    "undecided": ("?", "undecided"),
    "not-yet": ("…", "not yet"),
}
PLOT_WIDTH, PLOT_HEIGHT = 180, 18


def verdict_badge(verdict: ClaimVerdict) -> str:
    mark, word = VERDICT_MARKS[verdict]
    return f'<span class="badge {verdict}"><span aria-hidden="true">{mark}</span>{word}</span>'


def effect_text(checked: CheckedClaim) -> str:
    """`+4.1 points [+2.9, +5.3] (at least 3.0 claimed)`; of the comparison that decides."""
    weakest = checked.weakest
    if weakest is None:
        return ""
    unit = "points" if checked.unit == "points" else "of block index"
    return f"{format_signed(weakest.effect, digits=_digits(checked))} {unit} {_bounds(weakest, checked)}{_claimed(checked)}"


def claim_html(checked: CheckedClaim) -> str:
    """One claim in full."""
    claim = checked.claim
    origin = "our control" if claim.control else "claim of the source"
    facts = [effect_text(checked), _basis(checked)]
    weakest = (
        ""
        if len(checked.comparisons) < 2
        else '<span class="faint"> (the weakest of its comparisons)</span>'
    )
    head = f'<header>{verdict_badge(checked.verdict)}<p class="says">{escape_html(claim.says)}</p></header>'
    effect = f'<p class="effect"><b>{escape_html(facts[0])}</b>{weakest}</p>' if facts[0] else ""
    detail = f'<p class="faint">{escape_html(" · ".join(part for part in (origin, facts[1]) if part))}. {escape_html(checked.why)}</p>'
    return f'<article class="claim" id="{escape_html(claim_anchor(checked))}">{head}{effect}{detail}{_plots(checked)}</article>'


def claim_anchor(checked: CheckedClaim) -> str:
    return f"claim-{checked.experiment}-{checked.profile}-{checked.claim.id}"


def _basis(checked: CheckedClaim) -> str:
    weakest = checked.weakest
    if weakest is None:
        return ""
    seeds = plural(weakest.num_seeds, "seed")
    return f"{plural(weakest.num_videos, 'test video')}, {seeds}" if weakest.num_videos else seeds


def _plots(checked: CheckedClaim) -> str:
    if not checked.comparisons:
        return ""
    low, high = _range(checked.comparisons, checked.threshold)
    rows = "".join(
        f'<tr><th scope="row">{escape_html(c.label)}</th><td class="plot">{_plot(c, checked.threshold, low, high)}</td>'
        f'<td class="num">{escape_html(format_signed(c.effect, digits=_digits(checked)))} '
        f'<span class="sd">{escape_html(_bounds(c, checked))}</span></td></tr>'
        for c in checked.comparisons
    )
    table = f'<div class="scroll"><table class="forest"><tbody>{rows}</tbody></table></div>'
    if len(checked.comparisons) <= 4:
        return table
    return (
        f"<details><summary>All {len(checked.comparisons)} comparisons</summary>{table}</details>"
    )


def _plot(c: Comparison, threshold: float, low: float, high: float) -> str:
    """A dot on a line; the upright stroke is the threshold."""

    def x(value: float) -> str:
        return f"{4 + (PLOT_WIDTH - 8) * (value - low) / (high - low):.1f}"

    middle = PLOT_HEIGHT / 2
    line = (
        ""
        if c.low is None or c.high is None
        else f'<line class="range" x1="{x(c.low)}" x2="{x(c.high)}" y1="{middle}" y2="{middle}"/>'
    )
    stroke = (
        f'<line class="zero" x1="{x(threshold)}" x2="{x(threshold)}" y1="0" y2="{PLOT_HEIGHT}"/>'
    )
    dot = f'<circle cx="{x(c.effect)}" cy="{middle}" r="3.5"/>'
    return f'<svg viewBox="0 0 {PLOT_WIDTH} {PLOT_HEIGHT}" width="{PLOT_WIDTH}" height="{PLOT_HEIGHT}" aria-hidden="true">{stroke}{line}{dot}</svg>'


def _range(comparisons: Sequence[Comparison], threshold: float) -> tuple[float, float]:
    ends = [threshold] + [
        v for c in comparisons for v in (c.low, c.high, c.effect) if v is not None
    ]
    low, high = min(ends), max(ends)
    return (low, high) if high > low else (low - 1, high + 1)


def _bounds(c: Comparison, checked: CheckedClaim) -> str:
    if c.low is None or c.high is None:
        return "[no interval]"
    digits = _digits(checked)
    return f"[{format_signed(c.low, digits=digits)}, {format_signed(c.high, digits=digits)}]"


def _claimed(checked: CheckedClaim) -> str:
    if checked.claim.kind == "mean_gain_at_least":
        return f" (at least {format_number(checked.threshold)} claimed)"
    return " (claimed not to be above)" if checked.claim.negated else ""


def _digits(checked: CheckedClaim) -> int:
    return 1 if checked.unit == "points" else 3
