from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kdbatch.report.figures.errors import draw_errors, error_correlations, phi_coefficient
from kdbatch.report.stats.correctness import Correctness, load_correctness


def test_phi_is_the_correlation_over_shared_videos() -> None:
    first = Correctness(
        keys=("a", "b", "c", "d", "x"), correct_N=np.array([True, True, False, False, True])
    )
    second = Correctness(
        keys=("a", "b", "c", "d", "y"), correct_N=np.array([True, False, False, False, True])
    )
    # 2x2 table of the shared videos: both right 1, first alone 1, second alone 0, neither 2; phi =
    # (1*2 - 1*0) / sqrt(2*2*1*3)
    assert phi_coefficient(first, second) == pytest.approx(2 / np.sqrt(12))
    assert phi_coefficient(first, first) == pytest.approx(1.0) and np.isnan(
        phi_coefficient(first, Correctness(keys=second.keys, correct_N=np.ones(5, dtype=bool)))
    )


def test_the_matrix_is_symmetric_with_ones_and_knows_which_seeds_belong_together(
    studied: Callable,
) -> None:
    record, study = studied(seeds=(0, 1))
    roles = ["T1", "T2", "student"]
    groups, _ = load_correctness(study, [c.run_id for c in record.cells], metric="top1")
    hits = {run: found for group in groups.values() for run, found in group.items()}
    map_RR = error_correlations(record, roles, {"target": "ucf101", "subset": "10k"}, hits)
    assert map_RR == pytest.approx(map_RR.T) and np.diag(map_RR) == pytest.approx(1.0)
    pairs = [
        [
            next(
                c.run_id
                for c in record.cells
                if (c.role, c.case["subset"], c.seed) == (r, "10k", s)
            )
            for r in roles[:2]
        ]
        for s in (0, 1)
    ]
    assert map_RR[0, 1] == pytest.approx(
        np.mean([phi_coefficient(hits[a], hits[b]) for a, b in pairs])
    )


def test_a_role_without_results_is_a_blank_and_no_results_are_no_figure(
    studied: Callable, tmp_path: Path
) -> None:
    record, study = studied(unfinished=[("T1", "10k")])
    drawing, warnings = draw_errors(record, study, tmp_path, name="errors")
    assert drawing and warnings == () and drawing.width_pixels > 400
    record, study = studied(
        unfinished=[(r, s) for r in ("T1", "T2", "student", "labels_only") for s in ("10k", "30k")]
    )
    assert draw_errors(record, study, tmp_path, name="none")[0] is None
