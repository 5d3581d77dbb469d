"""Compares what two versions of the code made of the same study, to prove a refactoring.

    python tests/compare_outputs.py OLD/runs NEW/runs OLD/report NEW/report

Make both with `make study PROFILE=micro` in two clones, from the same toy videos. Equal means: the
same run ids; per run the same tensors in model.safetensors, and the same rows of every Parquet file
except the measurements of the machine; the same rows of results.parquet and the same report.json.
Exits with 0 when everything is equal, with 1 and a line per difference otherwise.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import torch
from safetensors.torch import load_file

ABOUT_MACHINE = (
    "clips_per_second",
    "train_seconds",
    "idle_share",
    "data_wait_share",  # of versions up to 0.2
    "gpu_utilisation",
    "max_memory",
)
"""Rows that measure the machine and not the model."""
PARQUET_FILES = ("rows", "curves", "predictions", "cka")


def compare_runs(old: Path, new: Path) -> Iterator[str]:
    """Yield a line for each difference between two runs folders."""
    old_ids, new_ids = run_ids(old), run_ids(new)
    for run_id in sorted(old_ids - new_ids):
        yield f"{run_id}: only in {old}"
    for run_id in sorted(new_ids - old_ids):
        yield f"{run_id}: only in {new}"
    for run_id in sorted(old_ids & new_ids):
        yield from compare_weights(old / run_id, new / run_id)
        for name in PARQUET_FILES:
            yield from compare_rows(
                old / run_id / f"{name}.parquet", new / run_id / f"{name}.parquet"
            )


def run_ids(runs_dir: Path) -> set[str]:
    """The ids of the finished runs."""
    return {path.parent.name for path in runs_dir.glob("r*/done.json")}


def compare_weights(old: Path, new: Path) -> Iterator[str]:
    """Yield the first tensor of two run folders' weights that is not equal to the bit."""
    paths = [folder / "model.safetensors" for folder in (old, new)]
    if [path.exists() for path in paths] != [True, True]:
        if paths[0].exists() != paths[1].exists():
            yield f"{old.name}: only one of both has weights"
        return
    old_tensors, new_tensors = map(load_file, paths)
    if list(old_tensors) != list(new_tensors):
        yield f"{old.name}: the weights have other names"
        return
    for name, tensor in old_tensors.items():
        if not torch.equal(tensor, new_tensors[name]):
            yield f"{old.name}: {name} differs"
            return


def compare_rows(old: Path, new: Path) -> Iterator[str]:
    """Yield a line if two Parquet files have other columns or other rows, in any order of rows."""
    if old.exists() != new.exists():
        yield f"{old.parent.name}: only one of both has {old.name}"
    if not (old.exists() and new.exists()):
        return
    frames = [without_machine(pl.read_parquet(path)) for path in (old, new)]
    if frames[0].schema != frames[1].schema:
        yield f"{old.parent.name}/{old.name}: the columns differ"
    elif not frames[0].equals(frames[1], null_equal=True):
        yield f"{old.parent.name}/{old.name}: rows differ"


def without_machine(frame: pl.DataFrame) -> pl.DataFrame:
    """The rows that say something about the model, sorted."""
    if "name" in frame.columns:
        frame = frame.filter(~pl.col("name").is_in(ABOUT_MACHINE))
    plain = [name for name, kind in frame.schema.items() if not kind.is_nested()]
    return frame.sort(plain)


def compare_reports(old: Path, new: Path) -> Iterator[str]:
    """Yield a line for each difference between two report folders."""
    yield from compare_rows(old / "results.parquet", new / "results.parquet")
    parts = [
        json.loads((folder / "report.json").read_text(encoding="utf-8")) for folder in (old, new)
    ]
    for name in sorted(parts[0].keys() | parts[1].keys()):
        if parts[0].get(name) != parts[1].get(name):
            yield f"report.json: {name} differs"
    tables = [
        {path.name: path.read_text() for path in folder.glob("tables/*")} for folder in (old, new)
    ]
    for name in sorted(tables[0].keys() | tables[1].keys()):
        if tables[0].get(name) != tables[1].get(name):
            yield f"tables/{name} differs"


def main(old_runs: str, new_runs: str, old_report: str, new_report: str) -> int:
    """Print the differences; the exit code."""
    differences = [
        *compare_runs(Path(old_runs), Path(new_runs)),
        *compare_reports(Path(old_report), Path(new_report)),
    ]
    for line in differences:
        sys.stdout.write(f"{line}\n")
    count = len(run_ids(Path(old_runs)) | run_ids(Path(new_runs)))
    sys.stdout.write(f"{count} runs and 2 reports compared: {len(differences)} differences\n")
    return 1 if differences or not count else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
