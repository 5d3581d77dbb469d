from pathlib import Path

import numpy as np
import pytest

from kdbatch.base.atomic_write import write_json
from kdbatch.base.errors import UserError
from kdbatch.result.schema import PREDICTIONS
from kdbatch.result.write import write_table
from kdbatch.run.evaluation.evaluate import evaluate_teacher_ensemble
from kdbatch.run.evaluation.predict import top_k
from kdbatch.vocab.runs.folder import RunFolder

LABELS = [0, 1, 2, 0, 1, 2]


def _teacher(runs: Path, run_id: str, guesses: list[int], *, sure: float = 0.8) -> RunFolder:
    """A finished run that gives each guess the probability `sure`; its rows are stored in an order
    of their own.
    """
    folder = RunFolder(runs / run_id)
    rows = []
    for i, guess in enumerate(guesses):
        probability_K = [(1 - sure) / 2] * 3
        probability_K[guess] = sure
        rows.append(
            {
                "run_id": run_id,
                "key": f"v{i}",
                "label": LABELS[i],
                "place": 0,
                "probability_K": probability_K,
                "logit_K": [0.0] * 3,
            }
        )
    write_table(folder.predictions, rows[::-1] if run_id == "rb" else rows, schema=PREDICTIONS)
    write_json(folder.done, {})
    return folder


def test_top_k_counts_the_label_among_the_highest() -> None:
    probability_NK = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.4, 0.4, 0.2]])
    label_N = np.array([1, 2, 1])
    assert [top_k(probability_NK, label_N, k) for k in (1, 2, 3)] == pytest.approx([1 / 3, 1, 1])


def test_an_ensemble_an_oracle_and_the_correlation_of_errors(tmp_path: Path) -> None:
    first = _teacher(
        tmp_path, "ra", [0, 1, 2, 0, 0, 0], sure=0.9
    )  # wrong on the last two, and sure of it
    second = _teacher(
        tmp_path, "rb", [0, 1, 2, 2, 1, 0], sure=0.6
    )  # wrong on the fourth and the last
    numbers = {m.name: m.value for m in evaluate_teacher_ensemble([first, second], where="x")}
    assert numbers["teacher_ensemble_top1"] == pytest.approx(
        100 * 4 / 6
    )  # the surer teacher decides where they differ
    assert numbers["teacher_oracle_top1"] == pytest.approx(100 * 5 / 6)
    assert numbers["teacher_disagreement"] == pytest.approx(100 * 2 / 6)
    wrong = np.array([[0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 0, 1]])
    assert numbers["teacher_error_correlation"] == pytest.approx(np.corrcoef(wrong)[0, 1])


def test_a_teacher_that_is_never_wrong_has_no_error_correlation(tmp_path: Path) -> None:
    parents = [_teacher(tmp_path, "ra", LABELS), _teacher(tmp_path, "rb", [0, 1, 2, 2, 1, 0])]
    assert "teacher_error_correlation" not in {
        m.name for m in evaluate_teacher_ensemble(parents, where="x")
    }


def test_damaged_predictions_of_a_teacher_are_one_line(tmp_path: Path) -> None:
    parents = [_teacher(tmp_path, "ra", LABELS), _teacher(tmp_path, "rb", LABELS)]
    parents[1].predictions.write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match=r"rb/predictions\.parquet: cannot be read"):
        evaluate_teacher_ensemble(parents, where="x")
