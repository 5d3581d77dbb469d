"""`kdbatch.write_results`: the results of another trainer, in the files that the report reads.

Axes: N test videos, K classes.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike

from kdbatch.base.command_lines import submit_command
from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.text import plural
from kdbatch.result.digests import digest_label_ranks, digest_results
from kdbatch.result.label_ranks import label_ranks
from kdbatch.result.schema import PREDICTIONS, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.vocab.done import Done, Provenance, StageFacts, save_done
from kdbatch.vocab.metrics import Metric, Unit, is_percent
from kdbatch.vocab.plans.records import find_records
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.runs.run import OUTSIDE, outside_run_id

UNIT_OF: Mapping[str, Unit] = {
    "clips_per_second": "clips/s",
    "train_seconds": "seconds",
    "max_memory": "GB",
    "teacher_error_correlation": "1",
}


def write_results(
    runs: str | Path,
    *,
    experiment: str,
    role: str,
    case: Mapping[str, str],
    seed: int,
    keys: Sequence[str],
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: Sequence[str] | None = None,
    logits: ArrayLike | None = None,
    subset: str = "",
    title: str = "",
    classes: Sequence[str] = (),
    measures: Mapping[str, float] | None = None,
    device_hours: float | None = None,
    device: str = "",
) -> str:
    """Write what a network of another trainer predicts, as a finished run, and return the run's id.

    `kdbatch report` has its accuracy in tables, and its test videos in the intervals of claims,
    like those of a run of kdbatch: see docs/OWN_RESULTS.md. The files are `predictions.parquet`,
    `rows.parquet` and, last, `done.json`, which is sealed and has the digests of the others. A
    second call for the same place replaces them.

    Args:
        runs: the study's folder of runs, `runs` unless kdbatch.toml names another.
        experiment, role, case, seed: the place of the network in the experiment file: its name, a
            role of it, a value of each axis, and one of its seeds.
        keys: N names of the test videos, each once. The runs of an experiment are compared video
            by video, so a video has one name in all of them.
        labels: the N classes, from 0 to K - 1.
        probabilities: (N, K), the softmax over classes; a mean over clips where there are several.
        groups: N names of films, scenes or persons. Intervals resample whole groups; without them
            every video is a group of its own.
        logits: (N, K), the mean logits; without them the logarithm of the probabilities.
        subset: the test videos in words, such as `ucf101/test01`.
        title: the run in a line; without it the role and the case.
        classes: the K names of the classes.
        measures: further numbers by the names of docs/RESULTS_SCHEMA.md, such as `parameters`;
            shares are in percent. `top1`, `top5` and `test_videos` are computed.
        device_hours: hours of all devices together.
        device: the name of a device.

    Raises:
        UserError: the experiment was not submitted or has no such place, shapes do not fit, a
            number is not finite, a row of probabilities does not sum to 1, a key is there twice, a
            label is no class, or a measure has no such name.
        OSError: the files cannot be written.
    """
    case = {axis: str(value) for axis, value in case.items()}
    where = f"write_results: {role} of {experiment}, seed {seed}"
    probability_NK = _matrix(probabilities, where=f"{where}: probabilities")
    logit_NK = np.log(np.maximum(probability_NK, 1e-30))
    if logits is not None:
        logit_NK = _matrix(logits, where=f"{where}: logits")
    label_N = np.asarray(labels)
    groups = list(keys if groups is None else groups)
    _check(list(keys), groups, label_N, probability_NK, logit_NK, classes, where=where)
    own = dict(measures or {})
    for name in own:
        lookup(dict.fromkeys(_OWN_NAMES), name, where=f"{where}: measures")
    folder = RunFolder(Path(runs) / outside_run_id(experiment, role, case, seed=seed))
    _check_place(folder, experiment, role, case, seed)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.done.unlink(missing_ok=True)  # what it vouches for is replaced
    rank_N = label_ranks(probability_NK, label_N)
    rows = _predictions(folder.id, list(keys), groups, label_N, rank_N, probability_NK, logit_NK)
    write_table(folder.predictions, rows, schema=PREDICTIONS)
    write_measures(folder.rows, folder.id, _measures(rank_N, own, subset), schema=ROWS)
    done = Done(
        run_id=folder.id,
        kind=OUTSIDE,
        title=title or f"{role} at {', '.join(case.values()) or 'all cases'}, seed {seed}",
        finished_at=time.time(),
        seconds=None if device_hours is None else 3600 * device_hours,
        device_hours=device_hours,
        attempts=1,
        files=digest_results(folder, known={}),
        label_ranks_sha256=digest_label_ranks(folder),
        provenance=Provenance(device=device),
        facts=StageFacts(classes=tuple(classes)),
    )
    save_done(folder.done, done)
    return folder.id


_COMPUTED = ("top1", "top5", "test_videos")
_OWN_NAMES = tuple(name for name in get_args(Metric) if name not in _COMPUTED)


def _check_place(
    folder: RunFolder, experiment: str, role: str, case: Mapping[str, str], seed: int
) -> None:
    """Raise a UserError unless a submitted experiment has a run in this place."""
    runs_dir = folder.path.parent
    records = [record for record in find_records(runs_dir) if record.experiment == experiment]
    if not records:
        again = submit_command([f"jobs/{experiment}.yaml"], profile="paper")
        raise UserError(
            f"write_results: {runs_dir}/plans has no experiment {experiment!r}. Submit its file, "
            f"which trains nothing: {again}"
        )
    cells = [cell for record in records for cell in record.cells]
    if any(cell.run_id == folder.id for cell in cells):
        return
    axes = "; ".join(f"{axis}: {', '.join(values)}" for axis, values in records[0].axes.items())
    seeds = ", ".join(map(str, sorted({cell.seed for cell in cells})))
    raise UserError(
        f"write_results: {experiment} has no run of another trainer for {role!r} at {dict(case)}, "
        f"seed {seed}. Roles: {', '.join(records[0].roles)}. Axes: {axes}. Seeds: {seeds}."
    )


def _matrix(values: ArrayLike, *, where: str) -> np.ndarray:
    """The values as (N, K) floats."""
    matrix_NK = np.asarray(values, dtype=np.float64)
    if matrix_NK.ndim != 2 or not matrix_NK.size:
        raise UserError(
            f"{where}: has the shape {matrix_NK.shape}. Give one row per video and one column per "
            "class."
        )
    if not np.isfinite(matrix_NK).all():
        raise UserError(f"{where}: has a number that is not finite. Leave such runs out.")
    return matrix_NK


def _check(
    keys: list[str],
    groups: list[str],
    label_N: np.ndarray,
    probability_NK: np.ndarray,
    logit_NK: np.ndarray,
    classes: Sequence[str],
    *,
    where: str,
) -> None:
    num_videos, num_classes = probability_NK.shape
    for name, count in (("keys", len(keys)), ("groups", len(groups)), ("labels", len(label_N))):
        if count != num_videos:
            raise UserError(
                f"{where}: probabilities of {plural(num_videos, 'video')}, but {count} {name}. "
                "Give one of each for every video."
            )
    if logit_NK.shape != probability_NK.shape or (classes and len(classes) != num_classes):
        raise UserError(
            f"{where}: logits have the shape {logit_NK.shape} and {len(classes)} classes are "
            f"named, but probabilities have the shape {probability_NK.shape}. Give equal ones."
        )
    if len(set(keys)) != num_videos:
        twice = next(key for key in keys if keys.count(key) > 1)
        raise UserError(f"{where}: the key {twice!r} is there twice. Name each video once.")
    is_class = label_N.dtype.kind in "iu" and ((label_N >= 0) & (label_N < num_classes)).all()
    if label_N.ndim != 1 or not is_class:
        raise UserError(f"{where}: labels are whole numbers from 0 to {num_classes - 1}.")
    sum_N = probability_NK.sum(-1)
    if (probability_NK < 0).any() or (abs(sum_N - 1) > 1e-3).any():
        worst = sum_N[abs(sum_N - 1).argmax()]
        raise UserError(
            f"{where}: probabilities are at least 0 and sum to 1 in each row; one sum is "
            f"{worst:.4g}. Give the softmax of the logits."
        )


def _measures(rank_N: np.ndarray, own: Mapping[str, float], subset: str) -> list[Measure]:
    shares = {f"top{k}": 100 * float((rank_N < k).mean()) for k in (1, 5)}
    found = [
        Measure(name=name, value=value, unit="percent", subset=subset)
        for name, value in shares.items()
    ]
    found.append(Measure(name="test_videos", value=len(rank_N), unit="count", subset=subset))
    for name, value in own.items():
        unit = "percent" if is_percent(name) or name.endswith("_share") else "count"
        found.append(
            Measure(name=name, value=float(value), unit=UNIT_OF.get(name, unit), subset=subset)
        )
    return found


def _predictions(
    run_id: str,
    keys: Sequence[str],
    groups: Sequence[str],
    label_N: np.ndarray,
    rank_N: np.ndarray,
    probability_NK: np.ndarray,
    logit_NK: np.ndarray,
) -> list[dict[str, Any]]:
    columns = (keys, groups, label_N.tolist(), rank_N.tolist())
    matrices = (probability_NK.tolist(), logit_NK.tolist())
    names = ("key", "group", "label", "place", "probability_K", "logit_K")
    return [
        {"run_id": run_id, **dict(zip(names, values, strict=True))}
        for values in zip(*columns, *matrices, strict=True)
    ]
