"""Accuracy on a test split, and the accuracy of several finished teachers together.

Axes: M teachers, N videos, K classes.
"""

import logging
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from kdbatch.base.errors import UserError
from kdbatch.result.label_ranks import label_ranks
from kdbatch.result.read import read_predictions
from kdbatch.result.schema import PREDICTIONS
from kdbatch.result.write import Measure, write_table
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import load_videos
from kdbatch.run.evaluation.predict import Predictions, predict, top_k
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.views import View

_log = logging.getLogger(__name__)


def evaluate(
    model: nn.Module, *, evaluation: Evaluation, view: View, shards_dir: Path, context: RunContext
) -> list[Measure]:
    """Predict every test video and store the predictions.

    A video's prediction is the mean softmax over its clips and crops (`top1`, `top5`); `clip_top1`
    and `clip_top5` count single clips. Mean logits are stored as well, because some of the
    literature averages those.
    """
    videos, _ = load_videos(shards_dir, evaluation.test, view=view)
    _log.info("predicts %d test videos, %d clips of each", len(videos), evaluation.num_clips)
    found = predict(
        model,
        videos,
        view=view,
        num_clips=evaluation.num_clips,
        num_crops=evaluation.num_crops,
        context=context,
    )
    return write_predictions(found, evaluation=evaluation, context=context)


def write_predictions(
    found: Predictions, *, evaluation: Evaluation, context: RunContext
) -> list[Measure]:
    """Store predictions of the test videos, on rank 0, and return their accuracy."""
    if context.group.is_rank0:
        write_table(context.folder.predictions, _rows(found, context.folder.id), schema=PREDICTIONS)
    where = evaluation.test.title
    shares = {
        "top1": found.top_share(1),
        "top5": found.top_share(5),
        "clip_top1": found.clip_top_share(1),
        "clip_top5": found.clip_top_share(5),
    }
    top1, top5 = (f"{100 * shares[name]:.1f} %" for name in ("top1", "top5"))
    _log.info("test top-1 %s, top-5 %s: %d videos of %s", top1, top5, found.num_videos, where)
    context.reporter.show(f"test top-1 {top1}", test_top1=100 * shares["top1"])
    measures = [
        Measure(name=name, value=100 * share, unit="percent", subset=where)
        for name, share in shares.items()
    ]
    return [
        *measures,
        Measure(name="test_videos", value=found.num_videos, unit="count", subset=where),
    ]


def _rows(found: Predictions, run_id: str) -> list[dict[str, Any]]:
    place_N = label_ranks(found.probability_NK, found.label_N)
    columns = (
        found.keys,
        found.groups,
        found.label_N.tolist(),
        place_N.tolist(),
        found.probability_NK.tolist(),
        found.logit_NK.tolist(),
    )
    return [
        {
            "run_id": run_id,
            "key": key,
            "group": group,
            "label": label,
            "place": place,
            "probability_K": probability_K,
            "logit_K": logit_K,
        }
        for key, group, label, place, probability_K, logit_K in zip(*columns, strict=True)
    ]


def evaluate_teacher_ensemble(parents: Sequence[RunFolder], *, where: str) -> list[Measure]:
    """Measures of the teachers as an ensemble.

    The accuracy of their mean softmax; the share of videos that at least one has right (oracle);
    and averaged over pairs of teachers, the correlation of their errors (phi coefficient over
    videos; 1: they fail on the same videos) and their disagreement (share of videos that they put
    into different classes).

    Raises:
        UserError: a teacher's predictions cannot be read.
    """
    scan = read_predictions(parents[0].path.parent, [parent.id for parent in parents])
    if scan.warnings:
        raise UserError(scan.warnings[0])
    rows = scan.frame.sort("key").to_dicts()
    arrays = [_arrays([row for row in rows if row["run_id"] == parent.id]) for parent in parents]
    label_N = arrays[0][1]
    probability_MNK = np.stack([probability for probability, _ in arrays])
    guess_MN = probability_MNK.argmax(-1)
    wrong_MN = guess_MN != label_N
    measures = [
        Measure(
            name="teacher_ensemble_top1",
            value=100 * top_k(probability_MNK.mean(0), label_N, 1),
            unit="percent",
            subset=where,
        ),
        Measure(
            name="teacher_oracle_top1",
            value=100 * float((~wrong_MN).any(0).mean()),
            unit="percent",
            subset=where,
        ),
    ]
    if len(parents) > 1:
        apart = np.mean([(a != b).mean() for a, b in combinations(guess_MN, 2)])
        measures.append(
            Measure(
                name="teacher_disagreement", value=100 * float(apart), unit="percent", subset=where
            )
        )
    varied = wrong_MN[(wrong_MN.std(1) > 0)]
    if len(varied) > 1:  # a teacher that is always right or always wrong has no correlation
        pairs = np.corrcoef(varied)[np.triu_indices(len(varied), 1)]
        measures.append(
            Measure(
                name="teacher_error_correlation", value=float(pairs.mean()), unit="1", subset=where
            )
        )
    return measures


def _arrays(rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row["probability_K"] for row in rows]), np.array(
        [row["label"] for row in rows]
    )
