"""Writes the folders of runs as the report finds them, with the project's own writers."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from kdbatch.result.schema import CKA, PREDICTIONS
from kdbatch.result.write import write_table
from kdbatch.vocab.done import Done, Provenance, StageFacts, save_done
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.status import Status, save_status

NUM_LAYERS = 12


def write_run(runs_dir: Path, run: Run, title: str, *, done: bool) -> RunFolder:
    """Write the folder of a run without results. Only pretraining has recorded an idle share, as if
    the others were of an older version.
    """
    folder = RunFolder(runs_dir / run.id)
    assignment = Assignment(
        run=run, title=title, shards_dir="shards", decoder="pyav", resources=Resources()
    )
    folder.save(assignment)
    save_status(folder.status, Status(state="done" if done else "queued", attempt=1, seconds=90.0))
    if done:
        save_done(
            folder.done,
            Done(
                run_id=run.id,
                kind=run.recipe.kind,
                title=title,
                finished_at=1.8e9,
                seconds=90.0,
                device_hours=0.025,
                attempts=1,
                provenance=Provenance(
                    kdbatch_version="0.1.0",
                    torch_version="2.15.0",
                    device="cpu (x86_64)",
                    host="node1",
                ),
                facts=StageFacts(
                    idle_percent=25.0 if run.recipe.kind == "pretrain" else None,
                    gpu_utilisation_percent=87.0 if run.recipe.kind == "pretrain" else None,
                ),
            ),
        )
    return folder


def mark_failed(folder: RunFolder, reason: str) -> None:
    """Turn a finished run into one that ended with an error."""
    folder.done.unlink(missing_ok=True)
    status = Status(state="failed", attempt=2, seconds=30.0)
    save_status(folder.status, dataclasses.replace(status, reason=reason))


def write_predictions(folder: RunFolder, correct_N: np.ndarray) -> None:
    """Write predictions over 4 classes; a wrong one predicts the class after the label."""
    label_N = np.arange(len(correct_N)) % 4
    predicted_N = np.where(correct_N, label_N, (label_N + 1) % 4)
    # Classes of equal probability rank by index: those before the label come above it.
    ties_above_N = label_N - (predicted_N < label_N)
    probability_NK = np.where(np.arange(4) == predicted_N[:, None], 0.7, 0.1).astype(np.float32)
    frame = pl.DataFrame(
        {
            "run_id": [folder.id] * len(correct_N),
            "key": [f"v{i:04d}" for i in range(len(correct_N))],
            "group": [None] * len(correct_N),
            "label": label_N,
            "place": np.where(correct_N, 0, 1 + ties_above_N),
            "probability_K": list(probability_NK),
            "logit_K": list(probability_NK),
        }
    )
    frame.cast(pl.Schema(PREDICTIONS)).write_parquet(folder.predictions)


def write_cka_map(folder: RunFolder) -> None:
    """Write a map whose values fall with the distance between two layers."""
    layers: Sequence[str] = [f"stage{i // 4}.conv{i % 4}" for i in range(NUM_LAYERS)]
    rows = []
    for a, layer_a in enumerate(layers):
        for b, layer_b in enumerate(layers):
            rows.append(
                {
                    "run_id": folder.id,
                    "index_a": a,
                    "index_b": b,
                    "layer_a": layer_a,
                    "layer_b": layer_b,
                    "kind_a": "conv",
                    "kind_b": "conv",
                    "value": float(np.exp(-abs(a - b) / 5)),
                    "rsa": float(np.exp(-abs(a - b) / 3)),
                }
            )
    write_table(folder.cka, rows, schema=CKA)
