"""Accuracy on a test split. Axes: B videos, V clips of a video, K classes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from kdbatch.result.read import read_predictions
from kdbatch.result.schema import PREDICTIONS
from kdbatch.result.write import Measure, write_table
from kdbatch.run.data import EvaluationBatches, batches, load_videos
from kdbatch.run.loop import Worker
from kdbatch.run.sampling import even_clips
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.recipes import Evaluation
from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.views import CENTER, View

CLIPS_PER_PASS = 64


@torch.no_grad()
def evaluate(model: nn.Module, *, evaluation: Evaluation, view: View, shards_dir: Path, worker: Worker) -> list[Measure]:
    """Predict every test video and store the predictions.

    A video's prediction is the mean softmax over its clips (`top1`, `top5`); `clip_top1` counts single clips. Mean logits are stored as
    well, because some of the literature averages those.
    """
    seen = replace(view, augment=CENTER)
    videos, _ = load_videos(shards_dir, evaluation.test, view=seen)
    source = EvaluationBatches(
        videos,
        view=seen,
        videos_per_batch=max(1, CLIPS_PER_PASS // evaluation.num_clips),
        request=lambda sample: even_clips(sample, seen, evaluation.num_clips),
        decoder=worker.decoder,
        cache=worker.cache,
        rank=worker.team.rank,
        world_size=worker.team.world_size,
    )
    model.eval()
    rows: list[dict[str, Any]] = []
    clip_hits = num_clips = 0
    for batch in batches(source, range(len(source)), num_workers=worker.num_workers):
        worker.pulse.check()
        clip_VBCTHW = batch.views(size_pixels=seen.size_pixels, device=worker.device)
        with torch.autocast(worker.device.type, dtype=torch.bfloat16, enabled=worker.device.type == "cuda"):
            logit_VBK = model(clip_VBCTHW.flatten(0, 1)).float().unflatten(0, clip_VBCTHW.shape[:2]).cpu()
        clip_hits += int((logit_VBK.argmax(-1) == batch.label_B).sum())
        num_clips += logit_VBK[..., 0].numel()
        mean_BK, logit_BK = logit_VBK.softmax(-1).mean(0), logit_VBK.mean(0)
        for key, label, probability_K, logit_K in zip(batch.keys, batch.label_B.tolist(), mean_BK.tolist(), logit_BK.tolist(), strict=True):
            run = {"run_id": worker.folder.id, "key": key, "label": label}
            rows.append({**run, "probability_K": probability_K, "logit_K": logit_K})
    rows = worker.team.gathered(rows)
    counts = worker.team.gathered([{"hits": clip_hits, "clips": num_clips}])
    if worker.team.leads:
        write_table(worker.folder.predictions, rows, schema=PREDICTIONS)
    probability_NK, label_N = _arrays(rows)
    where = evaluation.test.title
    return [
        Measure(name="top1", value=100 * top_k(probability_NK, label_N, 1), unit="percent", subset=where),
        Measure(name="top5", value=100 * top_k(probability_NK, label_N, 5), unit="percent", subset=where),
        Measure(
            name="clip_top1", value=100 * sum(c["hits"] for c in counts) / sum(c["clips"] for c in counts), unit="percent", subset=where
        ),
        Measure(name="test_videos", value=len(rows), unit="count", subset=where),
    ]


def top_k(probability_NK: np.ndarray, label_N: np.ndarray, k: int) -> float:
    """Share of rows whose label is among the k highest columns; equal columns count in label order."""
    best_Nk = np.argsort(-probability_NK, axis=1, kind="stable")[:, :k]
    return float((best_Nk == label_N[:, None]).any(1).mean())


def teachers_together(parents: Sequence[RunFolder], *, where: str) -> list[Measure]:
    """What the teachers know between them: accuracy of their mean softmax, the share of videos that at least one has right (oracle),
    and the mean correlation of their errors (phi coefficient over videos, pairs of teachers; 1: they fail on the same videos).

    Raises:
        UserError: a teacher's predictions cannot be read.
    """
    scan = read_predictions(parents[0].path.parent, [parent.id for parent in parents])
    if scan.warnings:
        raise UserError(f"{scan.warnings[0]} Delete its run folder and submit again.")
    rows = scan.frame.sort("key").to_dicts()
    arrays = [_arrays([row for row in rows if row["run_id"] == parent.id]) for parent in parents]
    label_N = arrays[0][1]
    probability_MNK = np.stack([probability for probability, _ in arrays])
    wrong_MN = probability_MNK.argmax(-1) != label_N
    measures = [
        Measure(name="teacher_ensemble_top1", value=100 * top_k(probability_MNK.mean(0), label_N, 1), unit="percent", subset=where),
        Measure(name="teacher_oracle_top1", value=100 * float((~wrong_MN).any(0).mean()), unit="percent", subset=where),
    ]
    varied = wrong_MN[(wrong_MN.std(1) > 0)]
    if len(varied) > 1:  # a teacher that is always right or always wrong has no correlation
        pairs = np.corrcoef(varied)[np.triu_indices(len(varied), 1)]
        measures.append(Measure(name="teacher_error_correlation", value=float(pairs.mean()), unit="1", subset=where))
    return measures


def _arrays(rows: Sequence[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row["probability_K"] for row in rows]), np.array([row["label"] for row in rows])
