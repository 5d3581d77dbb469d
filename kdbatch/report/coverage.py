"""Lists the results that an experiment declares and the report does not have."""

from collections.abc import Iterator

from kdbatch.report.html.sections import Chapter
from kdbatch.report.labels import case_title


def missing_parts(chapter: Chapter) -> Iterator[str]:
    """Yield one line for each missing part.

    Parts are runs that are not done, numbers of a table with fewer seeds than planned, and claims
    without a verdict.
    """
    record = chapter.record
    name = record.experiment
    for run in chapter.runs:
        if run.state != "done":
            yield f"{name}: run {run.run_id}, {run.title}, is {run.state}"
    for _, grid in chapter.grids:
        for row in grid.rows:
            for case, cell in zip(grid.columns, row.cells, strict=True):
                if cell.mean is None or cell.is_partial:
                    seeds = f"{cell.num_done} of {cell.num_planned} seeds"
                    place = f"{row.role} at {case_title(case, record.titles)}"
                    yield f"{name}: {grid.table.id}: {place} has {seeds}"
    for checked in chapter.claims:
        if checked.verdict == "not-yet":
            yield f"{name}: claim {checked.claim.id} has no verdict: {checked.why}"
