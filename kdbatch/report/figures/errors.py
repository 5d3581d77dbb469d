"""Who errs alike: correlation of errors between teachers, student and control, video by video.
Axes: R roles, N test videos.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from kdbatch.report.data.study import Study, matching_cells
from kdbatch.report.figures.base import (
    SavedFigure,
    apply_style,
    escape_mathtext,
    new_figure,
    panel_grid,
    save_figure,
)
from kdbatch.report.labels import NO_VALUE, case_title, format_number, role_group
from kdbatch.report.stats.correctness import Correctness, load_correctness, shared_keys
from kdbatch.vocab.plans import PlanRecord

MAX_ERROR_PANELS = 12
PANEL_INCHES = 1.75


def draw_errors(
    record: PlanRecord, study: Study, folder: Path, *, name: str
) -> tuple[SavedFigure | None, tuple[str, ...]]:
    """One matrix per case, up to 12 of them; None while no two roles can be compared. Also what
    could not be read.
    """
    roles = [
        r for r in record.roles if role_group(r) in ("teacher", "student") or r == "labels_only"
    ]
    groups, warnings = load_correctness(
        study, [c.run_id for c in record.cells if c.role in roles], metric="top1"
    )
    hits = {run: found for group in groups.values() for run, found in group.items()}
    cases = list(
        {tuple(c.case.items()): c.case for c in record.cells if c.role == "student"}.values()
    )
    maps = [(case, error_correlations(record, roles, case, hits)) for case in cases]
    maps = [
        (case, map_RR)
        for case, map_RR in maps
        if np.isfinite(map_RR[~np.eye(len(roles), dtype=bool)]).any()
    ]
    if not maps:
        return None, tuple(warnings)
    left_out = len(maps) - MAX_ERROR_PANELS
    maps = maps[:MAX_ERROR_PANELS]
    lines, columns = panel_grid(len(maps), max_columns=4)
    width, height = 1.0 + columns * (PANEL_INCHES + 0.25), 0.55 + lines * (PANEL_INCHES + 0.45)
    with apply_style():
        figure = new_figure(width, height)
        for i, (case, map_RR) in enumerate(maps):
            x, y = (
                0.9 + (i % columns) * (PANEL_INCHES + 0.25),
                height - 0.3 - (i // columns + 1) * (PANEL_INCHES + 0.45) + 0.4,
            )
            axes = figure.add_axes(
                (x / width, y / height, PANEL_INCHES / width, PANEL_INCHES / height)
            )
            axes.imshow(map_RR, cmap="cividis", vmin=0, vmax=1)
            for (r, q), value in np.ndenumerate(map_RR):
                ink = "white" if np.isfinite(value) and value < 0.5 else "black"
                axes.text(
                    q,
                    r,
                    format_number(value, digits=2),
                    ha="center",
                    va="center",
                    fontsize=6.5,
                    color=ink,
                )
            axes.set_title(escape_mathtext(case_title(case)), loc="left", fontsize=8)
            names = [escape_mathtext(role.replace("_", " ")) for role in roles]
            axes.set_xticks(
                range(len(roles)),
                names if i + columns >= len(maps) else [],
                rotation=90,
                fontsize=7,
            )
            axes.set_yticks(range(len(roles)), names if i % columns == 0 else [], fontsize=7)
            axes.grid(visible=False)
        rest = f" {left_out} more cases are in results.parquet." if left_out > 0 else ""
        caption = (
            "Correlation (phi) of being wrong on a test video, mean over seeds; colour from 0 to 1. Teachers that fail on different videos "
            f"(low) have more to tell a student than their mean accuracy says. {NO_VALUE}: a role that is always right or always wrong.{rest}"
        )
        return save_figure(
            figure, folder, name=name, title="Who errs alike", caption=caption
        ), tuple(warnings)


def error_correlations(
    record: PlanRecord, roles: list[str], case: dict[str, str], hits: Mapping[str, Correctness]
) -> np.ndarray:
    """(R, R), the mean over seeds that both roles have; NaN where there is none."""
    runs = {
        role: {c.seed: c.run_id for c in matching_cells(record, role, case) if c.run_id in hits}
        for role in roles
    }
    map_RR = np.full((len(roles), len(roles)), np.nan)
    for r, first in enumerate(roles):
        for q, second in enumerate(roles[: r + 1]):
            seeds = sorted(set(runs[first]) & set(runs[second]))
            found = [
                phi_coefficient(hits[runs[first][seed]], hits[runs[second][seed]]) for seed in seeds
            ]
            known = [value for value in found if np.isfinite(value)]
            if known:
                map_RR[r, q] = map_RR[q, r] = float(np.mean(known))
    return map_RR


def phi_coefficient(first: Correctness, second: Correctness) -> float:
    """Correlation of two yes-no series over the videos that both have; NaN where one of them does
    not vary.
    """
    shared = shared_keys([first, second])
    a_N, b_N = (found.select(shared).astype(np.float64) for found in (first, second))
    if not shared or not a_N.std() or not b_N.std():
        return float("nan")
    return float(np.corrcoef(a_N, b_N)[0, 1])
