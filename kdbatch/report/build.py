"""Builds the report: reads a study, then writes its tables, figures, claims and page."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from kdbatch.base.atomic_write import make_folder, write_json, write_text
from kdbatch.base.command_lines import report_command
from kdbatch.base.errors import UserError
from kdbatch.base.progress import Progress, silent
from kdbatch.report.changes.compare import Changes, compare_reports
from kdbatch.report.changes.compared_report import ComparedReport, load_report
from kdbatch.report.changes.files import write_changes
from kdbatch.report.chapters import CHANGES, ChapterBuilder, choose_file_names
from kdbatch.report.coverage import missing_parts
from kdbatch.report.data.run_details import RunDetails
from kdbatch.report.data.run_facts import RunFacts
from kdbatch.report.data.study import Study, load_study
from kdbatch.report.data.superseded import find_superseded
from kdbatch.report.figures.saved import FigureFolder
from kdbatch.report.html.page import PAGE_HEAD_BYTES, PAGE_TITLE, page_html
from kdbatch.report.html.runs import run_data
from kdbatch.report.html.sections import Chapter, count_done, count_verdicts
from kdbatch.report.json_export import report_json
from kdbatch.report.paper.folder import write_paper
from kdbatch.report.results_export import write_all_rows
from kdbatch.report.stats.claims import correct_verdicts
from kdbatch.report.stats.verdicts import ClaimVerdict


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """The outcome of a build: the files, how many runs are done, the verdicts, what is missing.

    `without_published` has a line for each experiment to which published numbers cannot apply,
    `changes` what moved since an earlier report.
    """

    page: Path
    data: Path
    done: int
    total: int
    verdicts: dict[ClaimVerdict, int]
    num_superseded: int
    warnings: tuple[str, ...]
    missing: tuple[str, ...]
    without_published: tuple[str, ...] = ()
    changes: Changes | None = None


def build_report(
    runs_dir: Path,
    *,
    to: Path,
    published: bool = False,
    against: Path | None = None,
    progress: Progress = silent,
) -> ReportSummary:
    """Write `to`/index.html, tables/, figures/, paper/, report.json and results.parquet.

    The page of an unfinished study lists what is missing. `published` adds the source's own
    numbers below ours. `against` is an earlier report.json: what moved since then becomes a chapter
    and tables/changes.*; it may be the one that is written again.

    Raises:
        UserError: no plan was submitted yet, a plan is damaged, `to` cannot be a folder, or
            `against` cannot be compared.
    """
    progress(0, 1, "reading results")
    earlier = load_report(against) if against else None
    study = load_study(runs_dir)
    _claim(to)
    details = RunDetails()
    chapters, found_warnings = _build_chapters(
        study, to, published=published, progress=progress, details=details
    )
    progress(len(chapters), len(chapters), "writing the page")
    page, data = to / "index.html", to / "report.json"
    runs = _runs_of(chapters)
    superseded, more_warnings = find_superseded(study)
    details.add_results(study, runs)
    warnings = tuple(dict.fromkeys((*found_warnings, *more_warnings, *details.warnings)))
    report = report_json(chapters, runs=runs, superseded=superseded, warnings=warnings)
    write_json(data, report)
    changes = _write_changes(to, study, earlier, against=against)
    write_paper(to, chapters)
    text = page_html(
        chapters,
        runs=runs,
        superseded=superseded,
        warnings=warnings,
        run_data=run_data(runs, study, details),
        changes=changes,
    )
    write_text(page, text)
    return ReportSummary(
        page=page,
        data=data,
        done=count_done(runs),
        total=len(runs),
        verdicts=count_verdicts([claim for chapter in chapters for claim in chapter.claims]),
        num_superseded=len(superseded),
        warnings=warnings,
        missing=tuple(line for chapter in chapters for line in missing_parts(chapter)),
        without_published=_without_published(chapters) if published else (),
        changes=changes,
    )


def _write_changes(
    to: Path, study: Study, earlier: ComparedReport | None, *, against: Path | None
) -> Changes | None:
    """Compare the report with an earlier one, if there is one, and write or remove its table."""
    changes = None
    if earlier:
        now = load_report(to / "report.json")
        changes = compare_reports(earlier, now, study.records, against=str(against))
    write_changes(to / "tables", CHANGES, changes)
    return changes


def _without_published(chapters: Sequence[Chapter]) -> tuple[str, ...]:
    """A line for each experiment that has no published number, with the reason."""
    lines = []
    for chapter in chapters:
        record = chapter.record
        if not any(grid.sources for _, grid in chapter.grids):
            why = record.note or "its source publishes none of these numbers."
            name = f"{record.experiment}, profile {record.profile}"
            lines.append(f"--published: nothing can be compared with {name}: {why}")
    return tuple(lines)


def _claim(to: Path) -> None:
    """Make the folder, check that no file of another origin would be replaced, and mark it as a
    report's.

    Raises:
        UserError: it cannot be made, or holds such a file.
    """
    make_folder(to, spelling=report_command(to="FOLDER"))
    page = to / "index.html"
    if page.is_file():
        with page.open("rb") as file:
            if PAGE_TITLE.encode() in file.read(PAGE_HEAD_BYTES):
                return
    names = (page.name, "report.json", "results.parquet", "tables", "figures", "paper")
    for name in names:
        if os.path.lexists(to / name):
            raise UserError(
                f"{to / name}: is not part of a report of kdbatch, and would be replaced. "
                f"Name another folder: {report_command(to='FOLDER')}"
            )
    write_text(page, f"<!doctype html>{PAGE_TITLE}<p>The report is being written.\n")


def _build_chapters(
    study: Study, to: Path, *, published: bool, progress: Progress, details: RunDetails
) -> tuple[list[Chapter], list[str]]:
    """Write results.parquet and the files of each experiment; return chapters and warnings. Curves
    are added to `details`.
    """
    warnings = list(study.warnings)
    file_names = choose_file_names(study.records)
    chapters: list[Chapter] = []
    # The writer of results.parquet leaves the interpreter free for the drawing.
    with ThreadPoolExecutor(1) as executor:
        path, keep = to / "results.parquet", details.add_curves
        results = executor.submit(write_all_rows, study, path, on_curves=keep)
        figures = FigureFolder.open(to / "figures")
        for i, record in enumerate(study.records):
            progress(i, len(study.records), record.title)
            builder = ChapterBuilder(
                record=record,
                study=study,
                to=to,
                file_names=file_names,
                figures=figures,
                warnings=warnings,
            )
            chapters.append(builder.build(published=published))
        figures.close()
        warnings += results.result()
    return _correct_claims(chapters), warnings


def _correct_claims(chapters: Sequence[Chapter]) -> list[Chapter]:
    """Correct the verdicts of all experiments for the number of claims in the report."""
    corrected = iter(correct_verdicts([claim for chapter in chapters for claim in chapter.claims]))
    return [
        replace(chapter, claims=tuple(islice(corrected, len(chapter.claims))))
        for chapter in chapters
    ]


def _runs_of(chapters: Sequence[Chapter]) -> tuple[RunFacts, ...]:
    """Return the runs of all experiments, each once."""
    return tuple({run.run_id: run for chapter in chapters for run in chapter.runs}.values())
