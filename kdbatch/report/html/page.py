"""The page: one HTML file with everything in it."""

from collections.abc import Sequence

from kdbatch.report.data.study import RunFacts
from kdbatch.report.data.superseded import SupersededRun
from kdbatch.report.html.chapter import chapter_html
from kdbatch.report.html.sections import Chapter
from kdbatch.report.html.style import SCRIPT, STYLE
from kdbatch.report.html.summary import header_html, missing_html, superseded_html, verdicts_html


def page_html(
    chapters: Sequence[Chapter],
    *,
    runs: Sequence[RunFacts],
    superseded: Sequence[SupersededRun],
    warnings: Sequence[str],
) -> str:
    """Equal contents give equal bytes: there is no date of making in it."""
    body = "".join(
        [
            header_html(chapters, runs),
            "<main>",
            verdicts_html(chapters),
            missing_html(runs, warnings),
            superseded_html(superseded),
            *(chapter_html(chapter) for chapter in chapters),
            "</main>",
            "<footer>Made by kdbatch report from the runs' Parquet files. Tables and figures also lie beside this page, in tables/ and "
            "figures/; all numbers and verdicts in report.json, every row in results.parquet.</footer>",
        ]
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"><title>kdbatch report</title>'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'\">"
        f"<style>{STYLE}</style></head><body>{body}<script>{SCRIPT}</script></body></html>\n"
    )
