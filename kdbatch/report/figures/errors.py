"""Draws how strongly the errors of teachers, student and control correlate, video by video.

Axes: R roles, N test videos.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kdbatch.report.data.study import Study, cases_of, matching_cells
from kdbatch.report.figures.drawing import (
    MINOR_POINTS,
    ON_DARK,
    ON_LIGHT,
    Drawing,
    InchBox,
    Label,
    Picture,
    labels_below,
    labels_beside,
    panel_grid,
)
from kdbatch.report.labels import NO_VALUE, case_title, format_number, role_group
from kdbatch.report.stats.correctness import Correctness, load_correctness, shared_keys
from kdbatch.vocab.plans.records import PlanRecord

MAX_ERROR_PANELS = 12
_MAX_COLUMNS = 4
PANEL_INCHES = 1.75
GAP_INCHES = (0.95, 1.15)  # between panels: to the right, below


def draw_errors(record: PlanRecord, study: Study) -> tuple[Drawing | None, tuple[str, ...]]:
    """Draw one matrix per case, up to MAX_ERROR_PANELS of them.

    Returns None while no two roles can be compared, and warnings about files that cannot be used.
    """
    roles = compared_roles(record)
    run_ids = [cell.run_id for cell in record.cells if cell.role in roles]
    groups, warnings = load_correctness(study, run_ids, metric="top1")
    correctness = {run: found for group in groups.values() for run, found in group.items()}
    matrices = []
    for case in cases_of(record, "student"):
        matrix_RR = error_correlations(record, roles, case, correctness)
        if _has_pair(matrix_RR):
            matrices.append((case_title(case, record.titles), matrix_RR))
    if not matrices:
        return None, tuple(warnings)
    caption = _caption(num_left_out=len(matrices) - MAX_ERROR_PANELS)
    drawing = _draw_matrices(matrices[:MAX_ERROR_PANELS], roles, caption=caption)
    return drawing, tuple(warnings)


def error_correlations(
    record: PlanRecord,
    roles: list[str],
    case: dict[str, str],
    correctness: Mapping[str, Correctness],
) -> np.ndarray:
    """Return a matrix (R, R) of phi, averaged over the seeds and folds that both roles have.

    An entry is NaN where two roles have none in common, or where phi is not defined.
    """
    runs: dict[str, dict[tuple[int, int], Correctness]] = {}
    for role in roles:
        cells = [c for c in matching_cells(record, role, case) if c.run_id in correctness]
        runs[role] = {(cell.seed, cell.fold): correctness[cell.run_id] for cell in cells}
    matrix_RR = np.full((len(roles), len(roles)), np.nan)
    for r, first in enumerate(roles):
        for q, second in enumerate(roles[: r + 1]):
            seeds = sorted(set(runs[first]) & set(runs[second]))
            values = [phi_coefficient(runs[first][seed], runs[second][seed]) for seed in seeds]
            defined = [value for value in values if np.isfinite(value)]
            if defined:
                matrix_RR[r, q] = matrix_RR[q, r] = float(np.mean(defined))
    return matrix_RR


def phi_coefficient(first: Correctness, second: Correctness) -> float:
    """Return the correlation of two runs' correctness over the videos that both have.

    It is NaN where one of the runs is always right or always wrong.
    """
    shared = shared_keys([first, second])
    a_N, b_N = (run.select(shared) for run in (first, second))
    # Whole numbers from the table of right and wrong videos: a tenth of the time of np.corrcoef.
    num, num_a, num_b, num_both = (
        len(shared),
        *(int(np.count_nonzero(right_N)) for right_N in (a_N, b_N, a_N & b_N)),
    )
    variances = num_a * (num - num_a) * num_b * (num - num_b)
    return (num * num_both - num_a * num_b) / variances**0.5 if variances else float("nan")


def compared_roles(record: PlanRecord) -> list[str]:
    """Return the teachers, the student, and the control of labels only, in the plan's order."""
    return [
        role
        for role in record.roles
        if role == "labels_only" or role_group(role, record.references) in ("teacher", "student")
    ]


def _has_pair(matrix_RR: np.ndarray) -> bool:
    """Return whether two different roles have a correlation."""
    off_diagonal = ~np.eye(len(matrix_RR), dtype=bool)
    return bool(np.isfinite(matrix_RR[off_diagonal]).any())


def _draw_matrices(
    matrices: Sequence[tuple[str, np.ndarray]], roles: Sequence[str], *, caption: str
) -> Drawing:
    num_rows, num_columns = panel_grid(len(matrices), max_columns=_MAX_COLUMNS)
    column_width, row_height = (PANEL_INCHES + gap for gap in GAP_INCHES)
    width, height = 0.2 + num_columns * column_width, 0.1 + num_rows * row_height
    names = [role.replace("_", " ") for role in roles]
    drawing = Drawing(width=width, height=height, title="Correlation of errors", caption=caption)
    middles = [PANEL_INCHES * (i + 0.5) / len(roles) for i in range(len(roles))]
    for i, (title, matrix_RR) in enumerate(matrices):
        row, column = divmod(i, num_columns)
        left = 0.9 + column * column_width
        top = height - 0.35 - row * row_height
        bottom = top - PANEL_INCHES
        drawing.begin_part((left - 0.9, bottom - 0.85, column_width, row_height))
        xs, ys = [left + middle for middle in middles], [top - middle for middle in middles]
        _draw_matrix(drawing, matrix_RR, box=(left, bottom, PANEL_INCHES, PANEL_INCHES))
        at = left, top + 6 / 72
        drawing.add(Label(at=at, text=title, points=8, is_bold=True))
        labels_below(drawing, xs, names, y=bottom, degrees=90)
        labels_beside(drawing, ys, names, x=left, side="left")
    return drawing


def _draw_matrix(drawing: Drawing, matrix_RR: np.ndarray, *, box: InchBox) -> None:
    """Draw a matrix in colours from 0 to 1, with its values as text."""
    drawing.add(Picture(box=box, value_LM=matrix_RR, colours="cividis"))
    left, bottom, width, height = box
    for (r, q), value in np.ndenumerate(matrix_RR):
        is_dark = np.isfinite(value) and value < 0.5
        x = left + width * (q + 0.5) / len(matrix_RR)
        y = bottom + height * (1 - (r + 0.5) / len(matrix_RR))
        drawing.add(
            Label(
                at=(x, y),
                text=format_number(value, digits=2),
                points=MINOR_POINTS,
                colour=ON_DARK if is_dark else ON_LIGHT,
                align="center",
                anchor="middle",
            )
        )


def _caption(*, num_left_out: int) -> str:
    sentences = [
        "Correlation (phi) of the errors on test videos, mean over seeds; colour from 0 to 1.",
        "Teachers with a low correlation fail on different videos, and can teach a student more "
        "than their mean accuracy suggests.",
        f"{NO_VALUE}: a role that is always right or always wrong.",
    ]
    if num_left_out > 0:
        sentences.append(f"{num_left_out} more cases are in results.parquet.")
    return " ".join(sentences)
