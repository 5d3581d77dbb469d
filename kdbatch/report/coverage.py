"""Does an experiment's part of the report have all that its file declares?"""

from collections.abc import Iterator

from kdbatch.report.html.sections import Chapter
from kdbatch.report.labels import case_title


def missing_parts(chapter: Chapter) -> Iterator[str]:
    """One line for each run that is not done, each number of a table with fewer seeds than planned,
    each claim without a verdict.
    """
    name = chapter.record.experiment
    for run in chapter.runs:
        if run.state != "done":
            yield f"{name}: run {run.run_id}, {run.title}, is {run.state}"
    for _, grid in chapter.grids:
        for row in grid.rows:
            for case, number in zip(grid.columns, row.cells, strict=True):
                if number.mean is None or number.is_partial:
                    have = f"{number.num_done} of {number.num_planned} numbers"
                    yield f"{name}: {grid.table.id}: {row.role} at {case_title(case)} has {have}"
    for checked in chapter.claims:
        if checked.verdict == "not-yet":
            yield f"{name}: claim {checked.claim.id} has no verdict: {checked.why}"
