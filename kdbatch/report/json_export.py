"""Exports the report for programs: `report.json` and `results.parquet` (docs/RESULTS_SCHEMA.md)."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kdbatch.base.atomic_write import atomic_write
from kdbatch.base.reading.local_name import local_name
from kdbatch.report.changes.compared_report import REPORT_VERSION
from kdbatch.report.data.run_facts import RunFacts
from kdbatch.report.data.study import Study
from kdbatch.report.data.superseded import SupersededRun
from kdbatch.report.html.sections import Chapter, count_verdicts
from kdbatch.report.stats import STATISTICS_VERSION
from kdbatch.report.stats.claims import CheckedClaim
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.report.tables.grid import Grid, GridCell, GridRow
from kdbatch.result.read import in_batches, read_curves
from kdbatch.result.schema import ROWS
from kdbatch.vocab.done import Done
from kdbatch.vocab.plans.declarations import MAP_CLAIMS, Claim
from kdbatch.vocab.plans.records import PlanRecord

RESULT_COLUMNS: dict[str, pl.DataType] = {
    **ROWS,
    "table": pl.String(),
    "kind": pl.String(),
    "title": pl.String(),
    "seed": pl.Int64(),
    "parents": pl.List(pl.String()),
    "experiment": pl.String(),
    "profile": pl.String(),
    "role": pl.String(),
    "case": pl.String(),
    "fold": pl.Int64(),
}


def report_json(
    chapters: Sequence[Chapter],
    *,
    runs: Sequence[RunFacts],
    superseded: Sequence[SupersededRun],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Return the contents of report.json: tables, claims with verdicts, and coverage."""
    claims = [claim for chapter in chapters for claim in chapter.claims]
    tables = [(chapter, name, grid) for chapter in chapters for name, grid in chapter.grids]
    used, recipes = _used_runs(runs)
    return {
        "version": REPORT_VERSION,
        "statistics": STATISTICS_VERSION,
        "coverage": {
            "runs": dict(Counter(run.state for run in runs)),
            "experiments": [_experiment_json(chapter) for chapter in chapters],
            "verdicts": count_verdicts(claims),
        },
        "tables": [table_json(chapter, name, grid) for chapter, name, grid in tables],
        "claims": [
            claim_json(claim, chapter.record) for chapter in chapters for claim in chapter.claims
        ],
        "untestable": [
            {"experiment": chapter.record.experiment, **asdict(statement)}
            for chapter in chapters
            for statement in chapter.record.untestable
        ],
        "runs": used,
        "recipes": recipes,
        "cells": [cell for chapter in chapters for cell in _cells_json(chapter.record)],
        "earlier_runs": [_superseded_json(run) for run in superseded],
        "warnings": list(warnings),
    }


def _experiment_json(chapter: Chapter) -> dict[str, Any]:
    return {
        "experiment": chapter.record.experiment,
        "profile": chapter.record.profile,
        "done": chapter.num_done,
        "runs": len(chapter.runs),
        "frame_rates": [asdict(rate) for rate in chapter.record.rates],
    }


def _used_runs(runs: Sequence[RunFacts]) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Return the runs, and their recipes, each once: runs name theirs by its index."""
    recipes: dict[tuple[tuple[str, str], ...], int] = {}
    used = []
    for run in runs:
        fields = run.recipe_pairs
        used.append(
            {
                "run_id": run.run_id,
                "kind": run.kind,
                "title": run.title,
                "seed": run.seed,
                "state": run.state,
                "parents": list(run.parents),
                "recipe": None if fields is None else recipes.setdefault(fields, len(recipes)),
                "code": [str(code) for code in run.run.code] if run.run else [],
                "results": _results_digest(run.done),
            }
        )
    return used, [dict(fields) for fields in recipes]


def _results_digest(done: Done | None) -> str:
    """The digest of what a run measured, without what it measured of the machine."""
    if done is None:
        return ""
    files = done.files or {}
    return done.label_ranks_sha256 or done.facts.model_sha256 or files.get("cka.parquet", "")


def _cells_json(record: PlanRecord) -> Iterator[dict[str, Any]]:
    for cell in record.cells:
        yield {"experiment": record.experiment, "profile": record.profile, **asdict(cell)}


def _superseded_json(run: SupersededRun) -> dict[str, Any]:
    return {
        "run_id": run.facts.run_id,
        "title": run.facts.title,
        "state": run.facts.state,
        "now": run.replaced_by,
        "differs": run.differences,
    }


def table_json(chapter: Chapter, name: str, grid: Grid) -> dict[str, Any]:
    """Return a table with one entry per number, in the order of its rows."""
    numbers = []
    for row in grid.rows:
        for case, cell in zip(grid.columns, row.cells, strict=True):
            numbers.append(_number_json(row, case, cell))
    return {
        "experiment": chapter.record.experiment,
        "profile": chapter.record.profile,
        "table": name,
        "title": grid.table.title,
        "metric": grid.table.metric,
        "unit": grid.unit,
        "numbers": numbers,
    }


def _number_json(row: GridRow, case: dict[str, str], cell: GridCell) -> dict[str, Any]:
    return {
        "group": row.group,
        "role": row.role,
        "case": case,
        "mean": cell.mean,
        "sd": cell.sd,
        "seeds_done": cell.num_done,
        "seeds_planned": cell.num_planned,
    }


def _compared_roles(claim: Claim, record: PlanRecord) -> list[str]:
    """The roles whose runs decide the claim; those of maps begin with `map:`."""
    if claim.kind in MAP_CLAIMS:
        return [f"map:{name}" for name in (claim.who, *claim.than)]
    if claim.kind == "blocks_lower_accuracy":
        return [claim.who, *(f"map:{m.id}" for m in record.maps if claim.who in m.models)]
    return [claim.who, *claim.than]


def claim_json(checked: CheckedClaim, record: PlanRecord) -> dict[str, Any]:
    """Return a claim with its verdict, the comparison that decides, and all comparisons."""
    weakest = checked.weakest
    return {
        "experiment": checked.experiment,
        "profile": checked.profile,
        "claim": asdict(checked.claim),
        "roles": _compared_roles(checked.claim, record),
        "verdict": checked.verdict,
        "p_value": checked.p_value,
        "corrected_verdict": checked.corrected,
        "corrected_p_value": checked.p_corrected,
        "why": checked.why,
        "unit": checked.unit,
        "threshold": checked.threshold,
        "effect": weakest.effect if weakest else None,
        "interval_95": [weakest.low, weakest.high] if weakest and weakest.low is not None else None,
        "num_videos": weakest.num_videos if weakest else 0,
        "num_groups": weakest.num_groups if weakest else 0,
        "num_seeds": weakest.num_seeds if weakest else 0,
        "num_missing": checked.num_missing,
        "comparisons": [_comparison_json(comparison) for comparison in checked.comparisons],
    }


def _comparison_json(comparison: Comparison) -> dict[str, Any]:
    return {
        "label": comparison.label,
        "effect": comparison.effect,
        "low": comparison.low,
        "high": comparison.high,
        "num_videos": comparison.num_videos,
        "num_groups": comparison.num_groups,
        "num_seeds": comparison.num_seeds,
    }


def write_all_rows(
    study: Study, path: Path, *, on_curves: Callable[[pl.DataFrame], None] = lambda curves: None
) -> tuple[str, ...]:
    """Write the rows and curves of all finished runs, once for each role that a run has.

    The joined table is many times larger than the data of the page and grows with the study, so it
    is written batch by batch. `on_curves` gets the curves of each batch, so that no file is read
    twice.

    Returns a warning for each file that could not be read.
    """
    about_run = _run_columns(study)
    warnings: list[str] = []

    def write(part: Path) -> None:
        schema = _to_arrow(pl.DataFrame(schema=RESULT_COLUMNS)).schema
        with pq.ParquetWriter(local_name(part), schema, compression="zstd") as file:
            for table, measured in _result_batches(study, warnings):
                if table == "curves":
                    on_curves(measured)
                joined = measured.with_columns(table=pl.lit(table)).join(
                    about_run, on="run_id", how="left", maintain_order="left_right"
                )
                file.write_table(_to_arrow(joined.select(list(RESULT_COLUMNS))))

    atomic_write(path, write)
    return tuple(warnings)


def _run_columns(study: Study) -> pl.DataFrame:
    """Return the columns that describe a run, with one row for each role that it has."""
    runs = []
    for run in study.runs.values():
        runs.append((run.run_id, run.kind, run.title, run.seed, list(run.parents)))
    roles = []
    for record in study.records:
        for cell in record.cells:
            case = ";".join(f"{axis}={value}" for axis, value in cell.case.items())
            place = record.experiment, record.profile, cell.role, case, cell.fold
            roles.append((cell.run_id, *place))
    run_frame = _frame(runs, "run_id", "kind", "title", "seed", "parents")
    role_frame = _frame(roles, "run_id", "experiment", "profile", "role", "case", "fold")
    return run_frame.join(role_frame, on="run_id", how="left", maintain_order="left_right")


def _frame(rows: Sequence[tuple], *names: str) -> pl.DataFrame:
    # By columns: from rows, polars makes a series of its own for each list of parents.
    columns = zip(*rows, strict=True) if rows else [()] * len(names)
    return pl.DataFrame(
        [pl.Series(n, list(c), RESULT_COLUMNS[n]) for n, c in zip(names, columns, strict=True)]
    )


def _result_batches(study: Study, warnings: list[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield all rows, then the curves of a batch of runs at a time, with the table's name."""
    yield "rows", study.rows
    for batch in in_batches(sorted(study.runs)):
        curves = read_curves(study.runs_dir, batch, done=study.done)
        warnings += curves.warnings
        yield "curves", curves.frame


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    """Convert with types that every reader of Parquet knows."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
