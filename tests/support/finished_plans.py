"""Writes the results of every run of a plan, as fast as the disk allows: studies of many runs."""

import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from kdbatch.launch.run_folders import write_runs
from kdbatch.result.digests import digest_label_ranks, digest_results
from kdbatch.result.schema import CKA, PREDICTIONS, ROWS
from kdbatch.vocab.config import Config
from kdbatch.vocab.done import Done, Provenance, save_done
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.runs.run import Run

NUM_VIDEOS, NUM_CLASSES, NUM_LAYERS = 48, 8, 24
TEST = "ucf101/test01"
NUMBERS = {
    "pretrain": ("pretext_accuracy", "pretext_chance", "parameters", "clips_per_second"),
    "finetune": ("top5", "clip_top1", "parameters", "clips_per_second", "train_seconds"),
    "distill": ("top5", "teacher_ensemble_top1", "teacher_oracle_top1", "parameters"),
    "compare": ("block_index", "block_index_z", "grid_share", "mean_cka"),
}
CURVES = ("accuracy", "loss", "lr", "gradient_norm", "teacher_weight_0", "teacher_weight_1")


def write_finished_plan(plan: Plan, config: Config, *, num_epochs: int = 2) -> None:
    """Write the folder of every run of the plan, done, with made-up numbers."""
    write_runs(plan, config=config)
    for planned in plan.runs:
        rng = random.Random(planned.run.id)
        folder = RunFolder(config.runs_dir / planned.run.id)
        _write_results(folder, planned.run, rng, num_epochs=num_epochs)
        done = Done(
            run_id=folder.id,
            kind=planned.run.recipe.kind,
            title=planned.title,
            finished_at=1.8e9,
            seconds=90.0,
            device_hours=0.025,
            attempts=1,
            files=digest_results(folder, known={}),
            label_ranks_sha256=digest_label_ranks(folder),
            provenance=Provenance(kdbatch_version="0.3.0", device="cpu (x86_64)", host="node1"),
        )
        save_done(folder.done, done)


def _write_results(folder: RunFolder, run: Run, rng: random.Random, *, num_epochs: int) -> None:
    kind = run.recipe.kind
    rows = [(folder.id, name, 50 * rng.random(), "percent", TEST, 0) for name in NUMBERS[kind]]
    if kind in ("finetune", "distill"):
        places = [rng.choice((0, 0, 0, 1, 2)) for _ in range(NUM_VIDEOS)]
        top1 = 100 * places.count(0) / NUM_VIDEOS
        rows += [(folder.id, "top1", top1, "percent", TEST, 0)]
        rows += [(folder.id, "test_videos", float(NUM_VIDEOS), "count", TEST, 0)]
        _write(folder.predictions, _predictions(folder, places), PREDICTIONS)
    if kind == "compare":
        _write(folder.cka, _layer_pairs(folder, rng), CKA)
    else:
        epochs = range(num_epochs)
        curves = [(folder.id, n, rng.random(), "1", "", e) for e in epochs for n in CURVES]
        _write(folder.curves, curves, ROWS)
    _write(folder.rows, rows, ROWS)


def _predictions(folder: RunFolder, places: Sequence[int]) -> list[tuple]:
    rows = []
    for i, place in enumerate(places):
        scores = [1 / NUM_CLASSES] * NUM_CLASSES
        key, group = f"v_circle_g{i % 12:02d}_c{i // 12:02d}", f"g{i % 12:02d}"
        rows.append((folder.id, key, group, i % NUM_CLASSES, place, scores, scores))
    return rows


def _layer_pairs(folder: RunFolder, rng: random.Random) -> list[tuple]:
    names = [f"stage{i // 6}.conv{i % 6}" for i in range(NUM_LAYERS)]
    return [
        (folder.id, a, b, names[a], names[b], "conv", "conv", rng.random(), rng.random())
        for a in range(NUM_LAYERS)
        for b in range(NUM_LAYERS)
    ]


def _write(path: Path, rows: Sequence[tuple], schema: Mapping[str, pl.DataType]) -> None:
    pl.DataFrame(rows, schema=dict(schema), orient="row").write_parquet(path)
