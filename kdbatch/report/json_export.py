"""Exports the report for programs: `report.json` (docs/RESULTS_SCHEMA.md)."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from kdbatch.report.changes.compared_report import REPORT_VERSION
from kdbatch.report.data.run_facts import RunFacts
from kdbatch.report.data.superseded import SupersededRun
from kdbatch.report.html.sections import Chapter, count_verdicts
from kdbatch.report.stats import STATISTICS_VERSION
from kdbatch.report.stats.claims import CheckedClaim
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.report.tables.grid import Grid, GridCell, GridRow
from kdbatch.vocab.done import Done
from kdbatch.vocab.plans.declarations import MAP_CLAIMS, Claim
from kdbatch.vocab.plans.records import PlanRecord


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
