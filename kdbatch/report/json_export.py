"""The report for programs: `report.json` with tables, claims and coverage, `results.parquet` with
every row (docs/RESULTS_SCHEMA.md).
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from kdbatch.base.atomic_write import atomic_write
from kdbatch.report.data.study import RunFacts, Study
from kdbatch.report.data.superseded import SupersededRun
from kdbatch.report.html.sections import Chapter, count_verdicts
from kdbatch.report.stats.claims import CheckedClaim
from kdbatch.report.tables.grid import Grid
from kdbatch.result.read import in_batches, read_curves
from kdbatch.result.schema import ROWS

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
}


def report_json(
    chapters: Sequence[Chapter],
    *,
    runs: Sequence[RunFacts],
    superseded: Sequence[SupersededRun],
    warnings: Sequence[str],
) -> dict[str, Any]:
    """Tables, claims with their verdicts, and how far each experiment is."""
    claims = [claim for chapter in chapters for claim in chapter.claims]
    return {
        "coverage": {
            "runs": dict(Counter(run.state for run in runs)),
            "experiments": [
                {
                    "experiment": c.record.experiment,
                    "profile": c.record.profile,
                    "done": c.num_done,
                    "runs": len(c.runs),
                }
                for c in chapters
            ],
            "verdicts": count_verdicts(claims),
        },
        "tables": [
            table_json(chapter, name, grid) for chapter in chapters for name, grid in chapter.grids
        ],
        "claims": [claim_json(claim) for claim in claims],
        "earlier_runs": [
            {
                "run_id": r.facts.run_id,
                "title": r.facts.title,
                "state": r.facts.state,
                "now": r.replaced_by,
                "differs": r.differences,
            }
            for r in superseded
        ],
        "warnings": list(warnings),
    }


def table_json(chapter: Chapter, name: str, grid: Grid) -> dict[str, Any]:
    """One number per entry, in the order of the table."""
    return {
        "experiment": chapter.record.experiment,
        "profile": chapter.record.profile,
        "table": name,
        "title": grid.table.title,
        "metric": grid.table.metric,
        "unit": grid.unit,
        "numbers": [
            {
                "group": row.group,
                "role": row.role,
                "case": column,
                "mean": n.mean,
                "sd": n.sd,
                "seeds_done": n.num_done,
                "seeds_planned": n.num_planned,
            }
            for row in grid.rows
            for column, n in zip(grid.columns, row.cells, strict=True)
        ],
    }


def claim_json(checked: CheckedClaim) -> dict[str, Any]:
    """A claim, its verdict, the comparison that decides, and all comparisons."""
    weakest = checked.weakest
    return {
        "experiment": checked.experiment,
        "profile": checked.profile,
        "claim": asdict(checked.claim),
        "verdict": checked.verdict,
        "why": checked.why,
        "unit": checked.unit,
        "threshold": checked.threshold,
        "effect": weakest.effect if weakest else None,
        "interval_95": [weakest.low, weakest.high] if weakest and weakest.low is not None else None,
        "num_videos": weakest.num_videos if weakest else 0,
        "num_seeds": weakest.num_seeds if weakest else 0,
        "num_missing": checked.num_missing,
        "comparisons": [
            {
                "label": c.label,
                "effect": c.effect,
                "low": c.low,
                "high": c.high,
                "num_videos": c.num_videos,
                "num_seeds": c.num_seeds,
            }
            for c in checked.comparisons
        ],
    }


def write_results(study: Study, path: Path) -> tuple[str, ...]:
    """All rows and curves of all finished runs, each as often as its run plays a role; returns what
    could not be read.

    The joined table is many times what a page needs, and grows with the study: it goes to disk
    piece by piece.
    """
    facts = pl.DataFrame(
        [
            {
                "run_id": r.run_id,
                "kind": r.kind,
                "title": r.title,
                "seed": r.seed,
                "parents": list(r.parents),
            }
            for r in study.runs.values()
        ],
        schema=_columns("run_id", "kind", "title", "seed", "parents"),
    )
    roles = pl.DataFrame(
        [
            {
                "run_id": cell.run_id,
                "experiment": record.experiment,
                "profile": record.profile,
                "role": cell.role,
                "case": ";".join(f"{axis}={value}" for axis, value in cell.case.items()),
            }
            for record in study.records
            for cell in record.cells
        ],
        schema=_columns("run_id", "experiment", "profile", "role", "case"),
    )
    about = facts.join(roles, on="run_id", how="left", maintain_order="left_right")
    warnings: list[str] = []

    def write(part: Path) -> None:
        schema = _to_arrow(pl.DataFrame(schema=RESULT_COLUMNS)).schema
        with pq.ParquetWriter(part, schema, compression="zstd") as file:
            for table, measured in _result_batches(study, warnings):
                joined = measured.with_columns(table=pl.lit(table)).join(
                    about, on="run_id", how="left", maintain_order="left_right"
                )
                file.write_table(_to_arrow(joined.select(list(RESULT_COLUMNS))))

    atomic_write(path, write)
    return tuple(warnings)


def _result_batches(study: Study, warnings: list[str]) -> Iterator[tuple[str, pl.DataFrame]]:
    """Rows, then curves of some runs at a time, with the name of their table."""
    yield "rows", study.rows
    for part in in_batches(sorted(study.runs)):
        curves = read_curves(study.runs_dir, part)
        warnings += curves.warnings
        yield "curves", curves.frame


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    """With the types that other readers of Parquet know."""
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def _columns(*names: str) -> dict[str, pl.DataType]:
    return {name: RESULT_COLUMNS[name] for name in names}
