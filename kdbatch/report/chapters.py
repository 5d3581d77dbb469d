"""Writes the tables and figures of one experiment, and gathers what its chapter shows."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.atomic_write import write_text
from kdbatch.report.data.cka_maps import LoadedMap, load_maps
from kdbatch.report.data.efficiency import Efficiency, efficiencies
from kdbatch.report.data.study import Study, matching_cells
from kdbatch.report.escape import safe_file_name
from kdbatch.report.figures.accuracy import draw_accuracy
from kdbatch.report.figures.cka import draw_map, draw_views
from kdbatch.report.figures.curves import CURVE_FIGURES, draw_curves
from kdbatch.report.figures.drawing import Drawing
from kdbatch.report.figures.efficiency import draw_efficiency
from kdbatch.report.figures.errors import draw_errors
from kdbatch.report.figures.gains import draw_gains
from kdbatch.report.figures.saved import FigureFolder, SavedFigure
from kdbatch.report.html.sections import (
    Chapter,
    efficiency_table,
    frame_rate_table,
    map_table,
    pretraining_table,
    teacher_agreement_table,
)
from kdbatch.report.labels import case_title
from kdbatch.report.stats.claims import check_claims
from kdbatch.report.stats.gains import Gains, student_gains
from kdbatch.report.tables.formats import to_csv, to_latex, to_markdown
from kdbatch.report.tables.grid import Grid, fill_grid
from kdbatch.vocab.plans.records import PlanRecord

CHANGES = "changes"  # the name of the files of changes, which no table gets
_CURVES = (f"curves_{name}" for name in CURVE_FIGURES)
_MAPS = (f"maps{end}" for end in ("", "_difference", "_rsa", "_rsa_difference"))
EXPERIMENT_FIGURES = ("gains", "errors", "curves", "efficiency", *_CURVES, *_MAPS)


@dataclass(frozen=True, kw_only=True)
class FileNames:
    """File names of tables and figures.

    A name that several plans use is followed by experiment and profile.
    """

    ambiguous: frozenset[str]

    def for_record(self, record: PlanRecord, name: str) -> str:
        """Return the name of a file of one experiment."""
        if name in self.ambiguous:
            name = f"{name}.{record.experiment}.{record.profile}"
        return safe_file_name(name)


def choose_file_names(records: Sequence[PlanRecord]) -> FileNames:
    """Return the names of a report's files: those that two of its plans use are made unlike."""
    uses = Counter([CHANGES])
    for record in records:
        uses.update({*(t.id for t in record.tables), *(m.id for m in record.maps)})
        uses.update(f"{record.experiment}_{part}" for part in EXPERIMENT_FIGURES)
    return FileNames(ambiguous=frozenset(name for name, count in uses.items() if count > 1))


@dataclass(frozen=True, kw_only=True)
class ChapterBuilder:
    """Writes the files of one experiment. Files that cannot be used add lines to `warnings`."""

    record: PlanRecord
    study: Study
    to: Path
    file_names: FileNames
    figures: FigureFolder
    warnings: list[str]

    def build(self, *, published: bool) -> Chapter:
        """Write the files. `published` adds the source's own numbers to the tables."""
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
        """Draw each map into its own files; the page shows all of them, in each view."""
        for cka in maps:
            self._save(self._file_name(cka.declared.id), draw_map(cka))
        figures = []
        for end, drawing in draw_views(maps).items():
            figures += self._save(self._part_name(f"maps{end}"), drawing)
        return figures

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
