"""Writes the top of the page: progress of the study, verdicts, missing and superseded runs."""

from collections.abc import Sequence

from kdbatch.base.command_lines import resume_command
from kdbatch.base.text import plural
from kdbatch.report.data.run_facts import RunFacts
from kdbatch.report.data.superseded import SupersededRun
from kdbatch.report.escape import escape_html
from kdbatch.report.html.claims import claim_anchor, effect_text, verdict_badge
from kdbatch.report.html.front import answer_text, citation_html, key_table, question_html
from kdbatch.report.html.sections import (
    Chapter,
    chapter_anchor,
    chapter_titles,
    count_done,
    count_verdicts,
    hours_left,
)
from kdbatch.report.html.tables import table_html
from kdbatch.report.labels import NO_VALUE, format_hours
from kdbatch.report.stats.claims import CheckedClaim
from kdbatch.report.stats.verdicts import VERDICTS, ClaimVerdict
from kdbatch.vocab.status import RunState

FAILED_STATES: tuple[RunState, ...] = (
    "failed",
    "stale",
    "lost",
    "damaged",
    "unreadable",
    "blocked",
)
ACTIVE_STATES: tuple[RunState, ...] = ("running", "stopped")
WAITING_STATES: tuple[RunState, ...] = ("queued", "planned", "missing")
MAX_LISTED_RUNS = 40
_LEDE_STATES: tuple[RunState, ...] = ("failed", "blocked", "stale", "running")
_BAR_TITLES = {
    "done": "done",
    "running": "running or to be resumed",
    "failed": "failed, blocked or stale",
    "waiting": "waiting",
}
_VERDICT_VERBS: dict[ClaimVerdict, tuple[str, str]] = {  # of one claim, of several
    "holds": ("holds", "hold"),
    "fails": ("fails", "fail"),
    "undecided": ("is undecided", "are undecided"),
    "one-seed": ("rests on one seed", "rest on one seed"),
    "not-yet": ("waits for results", "wait for results"),
}


def header_html(chapters: Sequence[Chapter], runs: Sequence[RunFacts]) -> str:
    """Return title and question, the answer in a sentence with the key table, and the progress."""
    heading, about = _heading(chapters)
    distinct_notes = dict.fromkeys(chapter.record.note for chapter in chapters)
    notes = "".join(f'<p class="notice">{escape_html(note)}</p>' for note in distinct_notes if note)
    return (
        f'<header><p class="kicker">kdbatch report</p><h1>{escape_html(heading)}</h1>{about}'
        f'{notes}<p class="lede">{escape_html(_answer(chapters))}</p>{key_table(chapters)}'
        f"<p>{escape_html(_progress_text(runs))} "
        f'<span class="faint">{escape_html(_time_text(runs))}</span></p>'
        f"{_progress_bar(runs)}{citation_html(chapters)}</header>"
    )


def _heading(chapters: Sequence[Chapter]) -> tuple[str, str]:
    """Return the heading, and below it the question: of several experiments, links to them."""
    if len(chapters) == 1:
        return chapters[0].record.title, question_html(chapters[0])
    links = "".join(
        f'<li><a href="#{escape_html(chapter_anchor(chapter))}">{escape_html(title)}</a> '
        f'<span class="faint">{escape_html(chapter.record.question)}</span></li>'
        for chapter, title in zip(chapters, chapter_titles(chapters), strict=True)
    )
    nav = f'<nav aria-label="Experiments"><ul>{links}</ul></nav>'
    return f"Results of {plural(len(chapters), 'experiment')}", nav


def _answer(chapters: Sequence[Chapter]) -> str:
    """Return the verdicts in words, of a single experiment after the gain of its student."""
    gain = answer_text(chapters[0]) if len(chapters) == 1 else ""
    return f"{gain} {_claims_text(chapters)}".strip()


def verdicts_html(chapters: Sequence[Chapter]) -> str:
    """Return a table with one line per claim, linked to its evidence, grouped by experiment."""
    bodies = []
    for chapter, name in zip(chapters, chapter_titles(chapters), strict=True):
        if chapter.claims:
            head = f'<th colspan="3" scope="rowgroup">{escape_html(name)}</th>'
            lines = "".join(map(_verdict_row, chapter.claims))
            bodies.append(f'<tbody><tr class="part">{head}</tr>{lines}</tbody>')
    if not bodies:
        return ""
    return (
        '<section id="claims"><h2>Claims at a glance</h2><p class="faint">'
        "A positive effect supports a claim, a negative one supports a negated claim; in brackets "
        "the 95 % interval. Sizes are those at which the runs were made. Of several comparisons "
        "the weakest is shown. A claim fails only if an interval that is widened for the number of "
        "comparisons misses the threshold. Verdicts "
        "hold for all claims of the report at once (Holm's correction); where a claim is decided "
        "only on its own, its evidence says so. With one seed nothing is decided.</p>"
        f'<div class="scroll"><table class="verdicts">{"".join(bodies)}</table></div></section>'
    )


def missing_html(runs: Sequence[RunFacts], warnings: Sequence[str]) -> str:
    """Return the runs that are not done, failed ones first with their reason, and the warnings."""
    parts = []
    if any(run.state != "done" for run in runs):
        parts.append(_open_runs_table(runs))
    if any(run.state == "failed" for run in runs):
        command = f"<code>{resume_command(retry_failed=True)}</code>"
        parts.append(f"<p class='faint'>To try failed runs again: {command}</p>")
    if warnings:
        items = "".join(f"<li>{escape_html(warning)}</li>" for warning in warnings)
        head = f"<strong>{plural(len(warnings), 'item')} left out</strong>"
        parts.append(f'<div class="notice">{head}<ul>{items}</ul></div>')
    if not parts:
        return ""
    return f'<section id="missing"><h2>Missing results</h2>{"".join(parts)}</section>'


def _open_runs_table(runs: Sequence[RunFacts]) -> str:
    """Return a table of all failed runs and of the first MAX_LISTED_RUNS of the others."""
    rank = {state: i for i, state in enumerate((*FAILED_STATES, *ACTIVE_STATES, *WAITING_STATES))}
    not_done = [run for run in runs if run.state != "done"]
    ordered = sorted(not_done, key=lambda run: rank[run.state])
    failed = [run for run in ordered if run.state in FAILED_STATES]
    others = [run for run in ordered if run.state not in FAILED_STATES]
    listed = (*failed, *others[:MAX_LISTED_RUNS])
    rows = [(run.title, run.state, run.reason or _hint(run.state), run.run_id) for run in listed]
    behind = [(run.run_id,) for run in listed]
    table = table_html(("Run", "State", "Reason", "Id"), rows, num_text_columns=4, runs=behind)
    num_hidden = len(not_done) - len(rows)
    if not num_hidden:
        return table
    return f"{table}<p class='faint'>and {plural(num_hidden, 'more run')}.</p>"


def superseded_html(superseded: Sequence[SupersededRun]) -> str:
    """Return the superseded runs with the runs that replaced them and the differences."""
    if not superseded:
        return ""
    rows = []
    for run in superseded[:MAX_LISTED_RUNS]:
        facts = run.facts
        about = (facts.title, facts.run_id, facts.state, facts.finished_at)
        rows.append((*about, run.replaced_by or NO_VALUE, run.differences))
    head = ("Run", "Id", "State", "Finished", "Replaced by", "Differences")
    table = table_html(head, rows, num_text_columns=6)
    num_hidden = len(superseded) - len(rows)
    rest = f"<p class='faint'>and {num_hidden} more.</p>" if num_hidden else ""
    return (
        '<section id="earlier"><h2>Runs of earlier versions</h2><p class="faint">'
        "No plan names these runs any more, mostly because a recipe was changed and submitted "
        "again. Tables, figures, claims and results.parquet contain the runs of the newest plans "
        "only.</p>"
        f"<details><summary>{plural(len(superseded), 'run')}</summary>{table}{rest}</details>"
        "</section>"
    )


def _verdict_row(checked: CheckedClaim) -> str:
    anchor, says = escape_html(claim_anchor(checked)), escape_html(checked.claim.says)
    origin = ' <span class="faint">control</span>' if checked.claim.control else ""
    return (
        f"<tr><td>{verdict_badge(checked)}</td>"
        f'<td><a href="#{anchor}">{says}</a>{origin}</td>'
        f'<td class="effects">{escape_html(effect_text(checked))}</td></tr>'
    )


def _time_text(runs: Sequence[RunFacts]) -> str:
    newest = max((run.finished_at for run in runs), default="")
    hours = [run.device_hours for run in runs if run.device_hours is not None]
    parts = [f"Results up to {newest}"] if newest else []
    if hours:
        parts.append(f"{format_hours(sum(hours))} of device time")
    if left := hours_left(runs):
        parts.append(f"about {format_hours(left)} left to spend, as planned")
    return " · ".join(parts)


def _progress_text(runs: Sequence[RunFacts]) -> str:
    """Return `13 of 15 runs are done, 1 failed.`"""
    done = count_done(runs)
    if done == len(runs):
        return f"All {plural(done, 'run')} are done."
    parts = [f"{done} of {plural(len(runs), 'run')} {'is' if done == 1 else 'are'} done"]
    for state in _LEDE_STATES:
        num_runs = sum(run.state == state for run in runs)
        if num_runs:
            parts.append(f"{num_runs} {state}")
    return ", ".join(parts) + "."


def _claims_text(chapters: Sequence[Chapter]) -> str:
    """Return `Of 14 claims, 2 hold, 1 is undecided.`, and the same for controls."""
    claims = [claim for chapter in chapters for claim in chapter.claims]
    sentences = []
    for noun, is_control in (("claim", False), ("control", True)):
        chosen = [claim for claim in claims if claim.claim.control == is_control]
        if chosen:
            sentences.append(f"Of {plural(len(chosen), noun)}, {_verdict_counts(chosen)}.")
    return " ".join(sentences)


def _verdict_counts(claims: Sequence[CheckedClaim]) -> str:
    counts = count_verdicts(claims)
    parts = []
    for verdict in VERDICTS:
        one, several = _VERDICT_VERBS[verdict]
        if counts[verdict]:
            parts.append(f"{counts[verdict]} {one if counts[verdict] == 1 else several}")
    return ", ".join(parts)


def _progress_bar(runs: Sequence[RunFacts]) -> str:
    """Return the shares of done, active, failed and waiting runs, as a bar and in words."""
    counts = {
        "done": count_done(runs),
        "running": sum(run.state in ACTIVE_STATES for run in runs),
        "failed": sum(run.state in FAILED_STATES for run in runs),
    }
    counts["waiting"] = len(runs) - sum(counts.values())
    spans, keys = [], []
    for group, num_runs in counts.items():
        if num_runs:
            width = 100 * num_runs / len(runs)
            spans.append(f'<span class="{group}" style="width:{width:.3f}%"></span>')
            keys.append(f'<li class="{group}"><i></i>{num_runs} {_BAR_TITLES[group]}</li>')
    bar = f'<div class="bar" aria-hidden="true">{"".join(spans)}</div>'
    return f'{bar}<ul class="key">{"".join(keys)}</ul>'


def _hint(state: RunState) -> str:
    """Return what happens next with a run that has no reason of its own."""
    if state == "stale":
        return f"its heartbeat stopped; go on: {resume_command()}"
    return "waits to be started" if state in WAITING_STATES else ""
