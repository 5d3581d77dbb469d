"""Builds the report: reads a study, then writes its tables, figures, claims and page."""

import os
from collections import Counter
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
from kdbatch.report.changes.compared_report import load_report
from kdbatch.report.changes.files import write_changes
from kdbatch.report.coverage import missing_parts
from kdbatch.report.data.cka_maps import LoadedMap, load_maps
from kdbatch.report.data.efficiency import Efficiency, efficiencies
from kdbatch.report.data.run_details import RunDetails
from kdbatch.report.data.study import RunFacts, Study, load_study, matching_cells
from kdbatch.report.data.superseded import find_superseded
from kdbatch.report.escape import safe_file_name
from kdbatch.report.figures.accuracy import draw_accuracy
from kdbatch.report.figures.cka import draw_map, draw_panel
from kdbatch.report.figures.curves import CURVE_KINDS, draw_curves
from kdbatch.report.figures.drawing import Drawing
from kdbatch.report.figures.efficiency import draw_efficiency
from kdbatch.report.figures.errors import draw_errors
from kdbatch.report.figures.gains import draw_gains
from kdbatch.report.figures.saved import FigureFolder, SavedFigure
from kdbatch.report.html.page import PAGE_HEAD_BYTES, PAGE_TITLE, page_html
from kdbatch.report.html.runs import run_data
from kdbatch.report.html.sections import (
    Chapter,
    count_done,
    count_verdicts,
    efficiency_table,
    frame_rate_table,
    map_table,
    pretraining_table,
    teacher_agreement_table,
)
from kdbatch.report.json_export import report_json, write_all_rows
from kdbatch.report.labels import case_title
from kdbatch.report.paper.folder import write_paper
from kdbatch.report.stats.claims import check_claims, correct_verdicts
from kdbatch.report.stats.gains import Gains, student_gains
from kdbatch.report.stats.verdicts import ClaimVerdict
from kdbatch.report.tables.formats import to_csv, to_latex, to_markdown
from kdbatch.report.tables.grid import Grid, fill_grid
from kdbatch.vocab.plans import PlanRecord

CHANGES = "changes"  # the name of the files of changes, which no table gets
_CURVES = (f"curves_{name}" for name in CURVE_KINDS)
EXPERIMENT_FIGURES = ("maps", "gains", "errors", "curves", "efficiency", *_CURVES)


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
    make_folder(to, spelling=report_command(to="FOLDER"))
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
    changes = None
    if earlier:
        now = load_report(data)
        changes = compare_reports(earlier, now, study.records, against=str(against))
    write_changes(to / "tables", CHANGES, changes)
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
    """Check that no file of another origin would be replaced, and mark the folder as a report's.

    Raises:
        UserError: it holds such a file.
    """
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
    file_names = _choose_file_names(study.records)
    chapters: list[Chapter] = []
    # The writer of results.parquet leaves the interpreter free for the drawing.
    with ThreadPoolExecutor(1) as executor:
        path, keep = to / "results.parquet", details.add_curves
        results = executor.submit(write_all_rows, study, path, on_curves=keep)
        figures = FigureFolder.open(to / "figures")
        for i, record in enumerate(study.records):
            progress(i, len(study.records), record.title)
            builder = _ChapterBuilder(
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


@dataclass(frozen=True, kw_only=True)
class _FileNames:
    """File names of tables and figures.

    A name that several plans use is followed by experiment and profile.
    """

    ambiguous: frozenset[str]

    def for_record(self, record: PlanRecord, name: str) -> str:
        if name in self.ambiguous:
            name = f"{name}.{record.experiment}.{record.profile}"
        return safe_file_name(name)


def _choose_file_names(records: Sequence[PlanRecord]) -> _FileNames:
    uses = Counter([CHANGES])
    for record in records:
        uses.update({*(t.id for t in record.tables), *(m.id for m in record.maps)})
        uses.update(f"{record.experiment}_{part}" for part in EXPERIMENT_FIGURES)
    return _FileNames(ambiguous=frozenset(name for name, count in uses.items() if count > 1))


@dataclass(frozen=True, kw_only=True)
class _ChapterBuilder:
    """Writes the files of one experiment. Files that cannot be used add lines to `warnings`."""

    record: PlanRecord
    study: Study
    to: Path
    file_names: _FileNames
    figures: FigureFolder
    warnings: list[str]

    def build(self, *, published: bool) -> Chapter:
        record, study = self.record, self.study
        grids = []
        for table in record.tables:
            grid = fill_grid(record, table, study, published=published)
            grids.append((self._file_name(table.id), grid))
            _write_table(self.to / "tables", *grids[-1])
        claims, claim_warnings = check_claims(record, study)
        self.warnings.extend(claim_warnings)
        runs = study.runs_of(record)
        gains = student_gains(record, study)
        self.warnings.extend(gains.warnings)
        maps, map_warnings = load_maps(record, study)
        self.warnings.extend(map_warnings)
        costs = efficiencies(record, study)
        text_tables = (
            map_table(maps),
            teacher_agreement_table(record, study),
            pretraining_table(runs, study),
            frame_rate_table(record),
            efficiency_table(costs),
        )
        figures = [
            *self._accuracy_figures(grids),
            *self._cka_figures(maps),
            *self._other_figures(gains),
        ]
        return Chapter(
            record=record,
            runs=runs,
            grids=tuple(grids),
            figures=tuple(figures),
            text_tables=tuple(table for table in text_tables if table),
            claims=claims,
            gains=gains,
            cost_figure=self._cost_figure(costs),
        )

    def _file_name(self, name: str) -> str:
        return self.file_names.for_record(self.record, name)

    def _accuracy_figures(self, grids: Sequence[tuple[str, Grid]]) -> list[SavedFigure]:
        figures = []
        for name, grid in grids:
            drawing = draw_accuracy(grid, _num_videos(self.record, grid, self.study))
            figures += self._save(f"{name}_accuracy", drawing)
        return figures

    def _cka_figures(self, maps: Sequence[LoadedMap]) -> list[SavedFigure]:
        """Draw each map into its own files; the page shows several maps as one panel."""
        single = []
        for cka in maps:
            single += self._save(self._file_name(cka.declared.id), draw_map(cka))
        if len(maps) < 2:
            return single
        name = self._file_name(f"{self.record.experiment}_maps")
        return self._save(name, draw_panel(maps, title="Similarity of layers (CKA)"))

    def _other_figures(self, gains: Gains) -> list[SavedFigure]:
        figures = self._save(self._part_name("gains"), draw_gains(gains, self.record.titles))
        errors, error_warnings = draw_errors(self.record, self.study)
        figures += self._save(self._part_name("errors"), errors)
        curves, curve_warnings = draw_curves(self.record, self.study)
        for name, drawing in curves.items():
            part = "curves" if name == "accuracy" else f"curves_{name}"
            figures += self._save(self._part_name(part), drawing)
        self.warnings.extend((*error_warnings, *curve_warnings))
        return figures

    def _cost_figure(self, costs: Sequence[Efficiency]) -> SavedFigure | None:
        drawing = draw_efficiency(costs, self.record.references)
        return next(iter(self._save(self._part_name("efficiency"), drawing)), None)

    def _part_name(self, part: str) -> str:
        return self._file_name(f"{self.record.experiment}_{part}")

    def _save(self, name: str, drawing: Drawing | None) -> list[SavedFigure]:
        """Save a figure, if there is one."""
        return [self.figures.save(name, drawing)] if drawing else []


def _num_videos(record: PlanRecord, grid: Grid, study: Study) -> dict[str, int]:
    """Return the number of test videos by case title, as the runs counted them."""
    num_videos = {}
    for column in grid.columns:
        cells = [c for role in grid.table.rows for c in matching_cells(record, role, column)]
        counts = [study.value(cell.run_id, "test_videos") for cell in cells]
        known = [count for count in counts if count]
        if known:
            num_videos[case_title(column, record.titles)] = int(known[0])
    return num_videos


def _write_table(folder: Path, name: str, grid: Grid) -> None:
    write_text(folder / f"{name}.md", to_markdown(grid))
    write_text(folder / f"{name}.csv", to_csv(grid))
    write_text(folder / f"{name}.tex", to_latex(grid))
