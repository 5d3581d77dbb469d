"""The top of the page: how far the study is, what its claims come to, what is missing and why."""

from collections.abc import Sequence

from kdbatch.base.text import plural
from kdbatch.report.data.study import RunFacts, RunState
from kdbatch.report.data.superseded import SupersededRun
from kdbatch.report.escape import escape_html
from kdbatch.report.html.chapter import chapter_anchor
from kdbatch.report.html.claims import claim_anchor, effect_text, verdict_badge
from kdbatch.report.html.sections import Chapter, count_done, count_verdicts
from kdbatch.report.html.tables import table_html
from kdbatch.report.labels import NO_VALUE, format_hours
from kdbatch.report.stats.claims import VERDICTS, CheckedClaim

FAILED_STATES: tuple[RunState, ...] = ("failed", "stalled", "blocked")
ACTIVE_STATES: tuple[RunState, ...] = ("running", "stopped")
MAX_LISTED_RUNS = 40


def header_html(chapters: Sequence[Chapter], runs: Sequence[RunFacts]) -> str:
    """Title, state of the study in a sentence, and where to go on the page."""
    done = count_done(runs)
    title = (
        "What the study found" if runs and done == len(runs) else "What the study has found so far"
    )
    links = "".join(
        f'<a href="#{escape_html(chapter_anchor(c))}">{escape_html(n)}</a>'
        for c, n in zip(chapters, chapter_titles(chapters), strict=True)
    )
    notes = "".join(
        f'<p class="notice">{escape_html(note)}</p>'
        for note in dict.fromkeys(c.record.note for c in chapters)
        if note
    )
    newest = max((run.finished_at for run in runs), default="")
    spent = [run.device_hours for run in runs if run.device_hours is not None]
    facts = [
        f"results up to {newest}" if newest else "",
        f"{format_hours(sum(spent))} of device time" if spent else "",
    ]
    return (
        f'<header><p class="kicker">kdbatch report</p><h1>{title}</h1>'
        f'<p class="lede">{escape_html(_state(runs))} {escape_html(_claims(chapters))}</p>'
        f'<p class="faint">{escape_html(" · ".join(f for f in facts if f))}</p>{notes}{_bar(runs)}'
        f'<nav aria-label="Experiments">{links}</nav></header>'
    )


def verdicts_html(chapters: Sequence[Chapter]) -> str:
    """Every claim on one line, linked to its evidence, below the title of its experiment."""
    parts = "".join(
        f'<tbody><tr class="part"><th colspan="3" scope="rowgroup">{escape_html(name)}</th></tr>'
        f"{''.join(map(_verdict_html, chapter.claims))}</tbody>"
        for chapter, name in zip(chapters, chapter_titles(chapters), strict=True)
        if chapter.claims
    )
    if not parts:
        return ""
    return (
        '<section id="claims"><h2>Claims at a glance</h2><p class="faint">Positive favours a claim, negative one that says not; in '
        "brackets the 95 % interval. Of several comparisons the weakest is shown, and a claim fails only if its interval, widened for "
        "their number, misses.</p>"
        f'<div class="scroll"><table class="verdicts">{parts}</table></div></section>'
    )


def chapter_titles(chapters: Sequence[Chapter]) -> list[str]:
    """Their titles, with the profile where the same experiment was run at several."""
    titles = [chapter.record.title for chapter in chapters]
    return [
        t if titles.count(t) == 1 else f"{t} (profile {c.record.profile})"
        for t, c in zip(titles, chapters, strict=True)
    ]


def missing_html(runs: Sequence[RunFacts], warnings: Sequence[str]) -> str:
    """Runs that are not done, the broken ones first and with their reason; files that could not be
    used.
    """
    open_runs = [run for run in runs if run.state != "done"]
    rank = {
        state: i
        for i, state in enumerate((*FAILED_STATES, *ACTIVE_STATES, "queued", "not started"))
    }
    ordered = sorted(open_runs, key=lambda run: rank[run.state])
    shown = [run for run in ordered if run.state in FAILED_STATES] + [
        run for run in ordered if run.state not in FAILED_STATES
    ][:MAX_LISTED_RUNS]
    parts = []
    if shown:
        rest = (
            f"<p class='faint'>and {plural(len(open_runs) - len(shown), 'more run')} that wait.</p>"
            if len(open_runs) > len(shown)
            else ""
        )
        rows = [(run.title, run.state, run.reason or _hint(run.state), run.run_id) for run in shown]
        parts.append(table_html(("Run", "State", "Reason", "Id"), rows, left=4) + rest)
    if any(run.state == "failed" for run in runs):
        parts.append(
            "<p class='faint'>Try failed runs again: <code>kdbatch submit --retry-failed</code></p>"
        )
    if warnings:
        items = "".join(f"<li>{escape_html(w)}</li>" for w in warnings)
        parts.append(
            f'<div class="notice"><strong>{plural(len(warnings), "thing")} left out</strong><ul>{items}</ul></div>'
        )
    return (
        f'<section id="missing"><h2>What is missing</h2>{"".join(parts)}</section>' if parts else ""
    )


def superseded_html(superseded: Sequence[SupersededRun]) -> str:
    """Runs that no plan asks for any more: what they are, what took their place, and in what the
    two differ.
    """
    if not superseded:
        return ""
    rows = [
        (
            run.facts.title,
            run.facts.run_id,
            run.facts.state,
            run.facts.finished_at,
            run.replaced_by or NO_VALUE,
            run.differences,
        )
        for run in superseded[:MAX_LISTED_RUNS]
    ]
    table = table_html(
        ("Run", "Id", "State", "Finished", "In its place", "Differs in"), rows, left=6
    )
    rest = (
        f"<p class='faint'>and {len(superseded) - MAX_LISTED_RUNS} more.</p>"
        if len(superseded) > MAX_LISTED_RUNS
        else ""
    )
    return (
        '<section id="earlier"><h2>Runs of earlier versions</h2><p class="faint">No plan asks for them any more, mostly because a recipe '
        "was changed and submitted again. Tables, figures and claims are those of the newest plans alone; these runs are in none of them, "
        f"nor in results.parquet.</p><details><summary>{plural(len(superseded), 'run')}</summary>{table}{rest}</details></section>"
    )


def _verdict_html(checked: CheckedClaim) -> str:
    origin = ' <span class="faint">our control</span>' if checked.claim.control else ""
    return (
        f'<tr><td>{verdict_badge(checked.verdict)}</td><td><a href="#{escape_html(claim_anchor(checked))}">{escape_html(checked.claim.says)}</a>{origin}</td>'
        f'<td class="effects">{escape_html(effect_text(checked))}</td></tr>'
    )


def _state(runs: Sequence[RunFacts]) -> str:
    done = count_done(runs)
    if done == len(runs):
        return f"All {plural(done, 'run')} are done."
    words = [f"{done} of {plural(len(runs), 'run')} {'is' if done == 1 else 'are'} done"]
    for state, said in (
        ("failed", "failed"),
        ("blocked", "blocked"),
        ("stalled", "stalled"),
        ("running", "running"),
    ):
        num = sum(run.state == state for run in runs)
        words += [f"{num} {said}"] if num else []
    return ", ".join(words) + "."


def _claims(chapters: Sequence[Chapter]) -> str:
    claims = [claim for chapter in chapters for claim in chapter.claims]
    groups = (
        ("claim", [c for c in claims if not c.claim.control]),
        ("control", [c for c in claims if c.claim.control]),
    )
    return " ".join(f"Of {_counted(noun, found)}" for noun, found in groups if found)


def _counted(noun: str, claims: Sequence[CheckedClaim]) -> str:
    """`14 claims, 2 hold, 1 is undecided.`"""
    verdicts = count_verdicts(claims)
    several = {
        "holds": "hold",
        "fails": "fail",
        "undecided": "are undecided",
        "not-yet": "wait for results",
    }
    single = {
        "holds": "holds",
        "fails": "fails",
        "undecided": "is undecided",
        "not-yet": "waits for results",
    }
    words = [
        f"{verdicts[v]} {(single if verdicts[v] == 1 else several)[v]}"
        for v in VERDICTS
        if verdicts[v]
    ]
    return f"{plural(len(claims), noun)}, {', '.join(words)}."


def _bar(runs: Sequence[RunFacts]) -> str:
    """Done, under way, broken, waiting: as lengths, and in words below."""
    groups = {
        "done": count_done(runs),
        "running": sum(run.state in ACTIVE_STATES for run in runs),
        "failed": sum(run.state in FAILED_STATES for run in runs),
    }
    groups["waiting"] = len(runs) - sum(groups.values())
    names = {
        "done": "done",
        "running": "running or to be resumed",
        "failed": "failed, blocked or stalled",
        "waiting": "waiting",
    }
    total = max(len(runs), 1)
    spans = "".join(
        f'<span class="{g}" style="width:{100 * n / total:.3f}%"></span>'
        for g, n in groups.items()
        if n
    )
    keys = "".join(f'<li class="{g}"><i></i>{n} {names[g]}</li>' for g, n in groups.items() if n)
    return f'<div class="bar" aria-hidden="true">{spans}</div><ul class="key">{keys}</ul>'


def _hint(state: RunState) -> str:
    if state == "stalled":
        return "its heartbeat stopped; submit again to resume it"
    return "waits for its turn" if state in ("queued", "not started") else ""
