"""`kdbatch report`: reads a study, writes its tables, figures, claims and page."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.atomic_write import make_folder, write_json, write_text
from kdbatch.base.progress import Progress, silent
from kdbatch.report.coverage import missing_parts
from kdbatch.report.data.study import Study, load_study, matching_cells
from kdbatch.report.data.superseded import find_superseded
from kdbatch.report.escape import safe_file_name
from kdbatch.report.figures.accuracy import draw_accuracy
from kdbatch.report.figures.base import SavedFigure
from kdbatch.report.figures.cka import draw_map, draw_panel, load_maps
from kdbatch.report.figures.curves import draw_curves
from kdbatch.report.figures.errors import draw_errors
from kdbatch.report.figures.gains import draw_gains
from kdbatch.report.html.page import page_html
from kdbatch.report.html.sections import (
    Chapter,
    count_done,
    count_verdicts,
    pretraining_table,
    teacher_agreement_table,
)
from kdbatch.report.json_export import report_json, write_results
from kdbatch.report.labels import case_title
from kdbatch.report.stats.claims import ClaimVerdict, check_claims
from kdbatch.report.tables.formats import to_csv, to_latex, to_markdown
from kdbatch.report.tables.grid import Grid, fill_grid
from kdbatch.vocab.plans import PlanRecord

PARTS = ("maps", "gains", "errors", "curves")


@dataclass(frozen=True, kw_only=True)
class ReportSummary:
    """What a person wants to hear at the end: where the page is, how far the study is, what its
    claims come to, what it lacks.
    """

    page: Path
    data: Path
    done: int
    total: int
    verdicts: dict[ClaimVerdict, int]
    num_superseded: int
    warnings: tuple[str, ...]
    missing: tuple[str, ...]


def build_report(
    runs_dir: Path, *, to: Path, published: bool = False, progress: Progress = silent
) -> ReportSummary:
    """Write `to`/index.html, tables/, figures/, report.json and results.parquet.

    A study that is not finished gives a page that says what is missing. `published` puts the
    source's own numbers below ours.

    Raises:
        UserError: no plan was submitted yet, a plan is damaged, or `to` cannot be a folder.
    """
    progress(0, 1, "reading results")
    study = load_study(runs_dir)
    make_folder(to)
    warnings = list(study.warnings)
    names = _file_names(study.records)
    chapters = []
    with ThreadPoolExecutor(1) as beside:  # writing rows keeps Python free to draw
        written = beside.submit(write_results, study, to / "results.parquet")
        for i, record in enumerate(study.records):
            progress(i, len(study.records), record.title)
            chapters.append(_build_chapter(record, study, to, names, warnings, published=published))
        warnings += written.result()
    progress(len(chapters), len(chapters), "writing the page")
    claims = [claim for chapter in chapters for claim in chapter.claims]
    runs = tuple({run.run_id: run for chapter in chapters for run in chapter.runs}.values())
    page = to / "index.html"
    told = tuple(dict.fromkeys(warnings))
    data = to / "report.json"
    earlier = find_superseded(study)
    write_json(data, report_json(chapters, runs=runs, superseded=earlier, warnings=told))
    write_text(page, page_html(chapters, runs=runs, superseded=earlier, warnings=told))
    return ReportSummary(
        page=page,
        data=data,
        done=count_done(runs),
        total=len(runs),
        verdicts=count_verdicts(claims),
        num_superseded=len(earlier),
        warnings=told,
        missing=tuple(line for chapter in chapters for line in missing_parts(chapter)),
    )


def _build_chapter(
    record: PlanRecord,
    study: Study,
    to: Path,
    names: "_FileNames",
    warnings: list[str],
    *,
    published: bool,
) -> Chapter:
    grids = [
        (names.for_record(record, table.id), fill_grid(record, table, study, published=published))
        for table in record.tables
    ]
    for name, grid in grids:
        _write_table(to / "tables", name, grid)
    claims, complaints = check_claims(record, study)
    warnings += complaints
    runs = study.runs_of(record)
    listings = [
        found
        for found in (teacher_agreement_table(record, study), pretraining_table(runs, study))
        if found
    ]
    return Chapter(
        record=record,
        runs=runs,
        grids=tuple(grids),
        figures=tuple(_draw_figures(record, study, grids, to / "figures", names, warnings)),
        text_tables=tuple(listings),
        claims=claims,
    )


def _draw_figures(
    record: PlanRecord,
    study: Study,
    grids: Sequence[tuple[str, Grid]],
    folder: Path,
    names: "_FileNames",
    warnings: list[str],
) -> list[SavedFigure]:
    """Those that the page shows. Of several maps that is their panel; each map has its own files as
    well.
    """
    shown: list[SavedFigure | None] = []
    for name, grid in grids:
        shown.append(
            draw_accuracy(grid, _num_videos(record, grid, study), folder, name=f"{name}_accuracy")
        )
    maps, complaints = load_maps(record, study)
    warnings += complaints
    single = [draw_map(cka, folder, name=names.for_record(record, cka.declared.id)) for cka in maps]
    title = "Which layers see alike"
    shown += (
        [
            draw_panel(
                maps,
                folder,
                name=names.for_record(record, f"{record.experiment}_maps"),
                title=title,
            )
        ]
        if len(maps) > 1
        else single
    )
    for part, draw in (("gains", draw_gains), ("errors", draw_errors), ("curves", draw_curves)):
        drawing, complaints = draw(
            record, study, folder, name=names.for_record(record, f"{record.experiment}_{part}")
        )
        shown.append(drawing)
        warnings += complaints
    return [drawing for drawing in shown if drawing]


def _num_videos(record: PlanRecord, grid: Grid, study: Study) -> dict[str, int]:
    """Test videos by case title, as the runs counted them."""
    found = {}
    for column in grid.columns:
        runs = [
            cell.run_id for role in grid.table.rows for cell in matching_cells(record, role, column)
        ]
        counts = [n for run in runs if (n := study.value(run, "test_videos"))]
        found |= {case_title(column): int(counts[0])} if counts else {}
    return found


def _write_table(folder: Path, name: str, grid: Grid) -> None:
    write_text(folder / f"{name}.md", to_markdown(grid))
    write_text(folder / f"{name}.csv", to_csv(grid))
    write_text(folder / f"{name}.tex", to_latex(grid))


@dataclass(frozen=True, kw_only=True)
class _FileNames:
    """File names of tables and figures. One that several plans use is followed by experiment and
    profile.
    """

    shared: frozenset[str]

    def for_record(self, record: PlanRecord, name: str) -> str:
        return safe_file_name(
            f"{name}.{record.experiment}.{record.profile}" if name in self.shared else name
        )


def _file_names(records: Sequence[PlanRecord]) -> _FileNames:
    used = [name for r in records for name in {*(t.id for t in r.tables), *(m.id for m in r.maps)}]
    used += [name for r in records for name in (f"{r.experiment}_{part}" for part in PARTS)]
    return _FileNames(shared=frozenset(name for name in used if used.count(name) > 1))
