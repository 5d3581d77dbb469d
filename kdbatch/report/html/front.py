"""Writes the first screen: question, sources, the answer in a sentence, key table, citations."""

from collections.abc import Sequence

from kdbatch.report.escape import escape_html
from kdbatch.report.html.citations import bibtex, link_to
from kdbatch.report.html.claims import interval_text
from kdbatch.report.html.sections import Chapter, chapter_anchor, chapter_titles
from kdbatch.report.html.tables import copy_html, runs_attribute
from kdbatch.report.labels import NO_VALUE, case_title, format_number, format_signed
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.report.stats.gains import StudentGain
from kdbatch.report.tables.formats import texts_to_latex, texts_to_markdown

_KEY_NOTE = (
    "Top-1 accuracy in percent; gains of the student in points, in brackets the 95 % interval over "
    "test videos, and over seeds where there are several. The best teacher is the one that is best "
    "on these test videos."
)


def question_html(chapter: Chapter) -> str:
    """Return the question of an experiment and the papers whose claims it checks."""
    record = chapter.record
    parts = []
    if record.question:
        parts.append(f'<p class="question">{escape_html(record.question)}</p>')
    if record.sources:
        links = ", ".join(map(_source_link, record.sources))
        parts.append(f'<p class="faint">Checks claims of {links}</p>')
    return "".join(parts)


def answer_text(chapter: Chapter) -> str:
    """Return `On average over 8 cases the student is above the best of its teachers by ...`; empty
    while nothing can be compared.
    """
    gain = chapter.gains.overall
    if gain is None:
        return ""
    parts = [
        _relation(comparison, other)
        for comparison, other in (
            (gain.over_best, "the best of its teachers" if not gain.case else "its best teacher"),
            (gain.over_control, "labels only"),
        )
        if comparison
    ]
    if not parts:
        return ""
    num_cases = len(chapter.gains.cases)
    start = f"On average over {num_cases} cases the" if num_cases > 1 else "The"
    found = [each for each in (gain.over_best, gain.over_control) if each]
    is_single = any(each.num_seeds == 1 for each in found)
    end = " That is one training of each: with one seed nothing is decided." if is_single else ""
    return f"{start} student is {', and '.join(parts)}.{end}"


def key_table(chapters: Sequence[Chapter]) -> str:
    """Return the key table: every case of a single experiment, the average of each of several."""
    if len(chapters) == 1:
        return gains_table(chapters[0])
    rows = []
    for chapter, title in zip(chapters, chapter_titles(chapters), strict=True):
        if chapter.gains.overall:
            rows.append((title, f"#{chapter_anchor(chapter)}", chapter.gains.overall, chapter))
    return _table("Experiment", rows)


def gains_table(chapter: Chapter) -> str:
    """Return the gains of an experiment, case by case, and their average."""
    gains = chapter.gains
    titles = chapter.record.titles
    rows = [(case_title(gain.case, titles), "", gain, chapter) for gain in gains.cases]
    if gains.average:
        rows.append(("Average", "", gains.average, chapter))
    return _table("Case", rows)


def citation_html(chapters: Sequence[Chapter]) -> str:
    """Return the BibTeX of the sources and of kdbatch."""
    sources = [source for chapter in chapters for source in chapter.record.sources]
    return (
        '<details class="cite"><summary>How to cite</summary><pre tabindex="0">'
        f"{escape_html(bibtex([*sources, 'kdbatch']))}</pre></details>"
    )


def _relation(gain: Comparison, other: str) -> str:
    bounds = interval_text(gain, digits=1)
    points = f"{format_number(abs(gain.effect))} points {bounds}"
    if gain.is_identical:
        return f"right on the same {gain.num_videos} test videos as {other}"
    if gain.low is not None and gain.high is not None and gain.low <= 0 <= gain.high:
        signed = format_signed(gain.effect)
        return f"not shown to be above or below {other} ({signed} points {bounds})"
    return f"{'above' if gain.effect > 0 else 'below'} {other} by {points}"


def _key_row(title: str, link: str, gain: StudentGain, chapter: Chapter) -> str:
    over_best, over_control = (
        each.sides if each else () for each in (gain.over_best, gain.over_control)
    )
    behind = (
        over_best[1:],
        (over_best or over_control)[:1],
        over_control[1:],
        over_best,
        over_control,
    )
    cells = []
    for (text, note), sides in zip(_key_texts(gain, chapter), behind, strict=True):
        small = f' <span class="sd">{escape_html(note)}</span>' if note else ""
        number = f"<b>{escape_html(text)}</b>" if len(sides) > 1 else escape_html(text)
        cells.append(f'<td class="num"{runs_attribute(*sides)}>{number}{small}</td>')
    head = escape_html(title)
    if link:
        head = f'<a href="{escape_html(link)}">{head}</a>'
    return f'<tr><th scope="row">{head}</th>{"".join(cells)}</tr>'


def _key_texts(gain: StudentGain, chapter: Chapter) -> list[tuple[str, str]]:
    """Return the numbers of a row, each with what is printed small after it."""
    title = chapter.record.roles.get(gain.best_teacher, gain.best_teacher)
    return [
        (format_number(gain.best), title),
        (format_number(gain.student), ""),
        (format_number(gain.control), ""),
        *(
            (format_signed(each.effect), interval_text(each, digits=1)) if each else (NO_VALUE, "")
            for each in (gain.over_best, gain.over_control)
        ),
    ]


def _table(first: str, rows: Sequence[tuple[str, str, StudentGain, Chapter]]) -> str:
    """Return a row for each (title, link, gain, chapter)."""
    if not rows:
        return ""
    titles = ("Best teacher", "Student", "Labels only", "Over best teacher", "Over labels only")
    heads = "".join(f'<th scope="col" class="num">{title}</th>' for title in titles)
    head = f'<thead><tr><th scope="col" class="text">{first}</th>{heads}</tr></thead>'
    body = "".join(_key_row(*row) for row in rows)
    table = f'<table class="key-table">{head}<tbody>{body}</tbody></table>'
    texts = [
        (title, *(f"{text} {note}".strip() for text, note in _key_texts(gain, chapter)))
        for title, _, gain, chapter in rows
    ]
    about = "Gains of the student", _KEY_NOTE, (first, *titles), texts
    copies = copy_html(texts_to_latex(*about), texts_to_markdown(*about))
    return (
        f'<div class="scroll" tabindex="0">{table}</div><p class="faint">{escape_html(_KEY_NOTE)}'
        f"</p>{copies}"
    )


def _source_link(source: str) -> str:
    text, address = escape_html(source), link_to(source)
    return f'<a href="{escape_html(address)}">{text}</a>' if address else text
