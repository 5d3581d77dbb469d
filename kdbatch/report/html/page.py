"""Writes the page: one HTML file that contains its figures, style and script."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdbatch.report.changes.compare import Changes
from kdbatch.report.data.run_facts import RunFacts
from kdbatch.report.data.superseded import SupersededRun
from kdbatch.report.html.changes import changes_html
from kdbatch.report.html.chapter import chapter_html
from kdbatch.report.html.contents import with_contents
from kdbatch.report.html.runs import runs_html, script_json
from kdbatch.report.html.sections import Chapter
from kdbatch.report.html.summary import header_html, missing_html, superseded_html, verdicts_html

PAGE_TITLE = "<title>kdbatch report</title>"  # by which a page is known to be ours
PAGE_HEAD_BYTES = 1000  # which hold the title
_FOOTER = (
    "<footer>Made by kdbatch report from the runs' Parquet files. The folder of this page also "
    "holds the tables (tables/), the figures (figures/), both with methods for a paper (paper/), "
    "all numbers and verdicts (report.json) and every row (results.parquet).</footer>"
)
_SECURITY_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
)


def page_html(
    chapters: Sequence[Chapter],
    *,
    runs: Sequence[RunFacts],
    superseded: Sequence[SupersededRun],
    warnings: Sequence[str],
    run_data: dict[str, Any],
    changes: Changes | None = None,
) -> str:
    """Return the page; `run_data` is that of html/runs.py. Equal contents give equal bytes: the
    time of the build is not in it.
    """
    body = "".join(
        [
            header_html(chapters, runs),
            "<main>",
            verdicts_html(chapters),
            changes_html(changes),
            missing_html(runs, warnings),
            superseded_html(superseded),
            *(chapter_html(chapter, is_single=len(chapters) == 1) for chapter in chapters),
            runs_html(run_data),
            "</main>",
            _FOOTER,
        ]
    )
    contents, body = with_contents(body)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"{PAGE_TITLE}"
        f'<meta http-equiv="Content-Security-Policy" content="{_SECURITY_POLICY}">'
        f"<style>{_read_asset('page.css')}</style></head><body>{contents}{body}"
        f"{script_json(run_data)}<script>{_read_asset('page.js')}{_read_asset('figures.js')}</script>"
        f"<script>{_read_asset('runs.js')}</script></body></html>\n"
    )


def _read_asset(name: str) -> str:
    """Read a file of this package."""
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
