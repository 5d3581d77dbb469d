"""Which test videos each run got right, aligned over runs and resampled once for all claims about a metric.

Axes: N test videos, K classes.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from kdbatch.report.bootstrap import Resampled, resample
from kdbatch.report.study import Study
from kdbatch.report.words import count, number
from kdbatch.result.read import read_predictions

TOP_K = {"top1": 1, "top5": 5}  # metrics that follow from predictions, video by video
SAME_POINTS = 0.05  # accuracy from predictions and accuracy as reported may differ by rounding, not by more

HitsByKey = dict[str, bool]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Resampled accuracies of the runs that left predictions, and what was wrong with the others."""

    resampled: Resampled
    warnings: tuple[str, ...] = ()


def resample_runs(study: Study, run_ids: Sequence[str], *, metric: str) -> Evidence:
    """Runs measured on the same subset share their draws of videos."""
    groups, warnings = load_hits(study, run_ids, metric=metric)
    parts = [_resample_subset(group, subset, warnings) for subset, group in sorted(groups.items())]
    resampled = Resampled(
        point={run: value for part in parts for run, value in part.point.items()},
        replicates={run: value for part in parts for run, value in part.replicates.items()},
        num_videos={run: value for part in parts for run, value in part.num_videos.items()},
    )
    return Evidence(resampled=resampled, warnings=tuple(warnings))


def load_hits(study: Study, run_ids: Sequence[str], *, metric: str) -> tuple[dict[str, dict[str, HitsByKey]], list[str]]:
    """By subset and run: which videos the run got right; and what was wrong with runs that are left out."""
    warnings: list[str] = []
    groups: dict[str, dict[str, HitsByKey]] = {}
    for run_id in sorted(set(run_ids)):
        found = study.measured.get((run_id, metric))
        if found is None or metric not in TOP_K:
            continue
        scan = read_predictions(study.runs_dir, [run_id])
        warnings += scan.warnings
        if scan.frame.is_empty():
            continue
        try:
            groups.setdefault(found.subset, {})[run_id] = _hits(scan.frame, k=TOP_K[metric], reported=found.value)
        except ValueError as error:
            warnings.append(f"{study.runs_dir / run_id}/predictions.parquet: {error}. No interval is taken from it.")
    return groups, warnings


def _hits(frame: pl.DataFrame, *, k: int, reported: float) -> HitsByKey:
    """Is the label among the k most probable classes? Of equal classes the lower index is first, as argmax has it.

    Raises:
        ValueError: what is stored is no prediction, or not the one that the run reported.
    """
    lengths = frame["probability_K"].list.len().unique()
    if len(lengths) != 1 or not lengths[0]:
        raise ValueError("its lists of probabilities are not of one length")
    probability_NK = frame["probability_K"].list.to_array(int(lengths[0])).to_numpy()
    label_N = frame["label"].to_numpy()
    if frame["label"].null_count() or not np.isfinite(probability_NK).all() or not ((label_N >= 0) & (label_N < lengths[0])).all():
        raise ValueError("it holds labels or probabilities that are none")
    own_N1 = np.take_along_axis(probability_NK, label_N[:, None], axis=1)
    tied_NK = (probability_NK == own_N1) & (np.arange(lengths[0]) < label_N[:, None])
    hit_N = ((probability_NK > own_N1) | tied_NK).sum(1) < k
    found = 100 * float(hit_N.mean())
    if abs(found - reported) > SAME_POINTS:
        raise ValueError(f"its videos give {number(found, digits=2)} percent where rows.parquet says {number(reported, digits=2)}")
    return dict(zip(frame["key"].to_list(), hit_N.tolist(), strict=True))


def _resample_subset(group: Mapping[str, HitsByKey], subset: str, warnings: list[str]) -> Resampled:
    """Only videos that all runs have: a paired difference needs both."""
    shared = sorted(set.intersection(*(set(hits) for hits in group.values())))
    num_all = len(set().union(*group.values()))
    if len(shared) < num_all:
        warnings.append(
            f"{subset}: runs were not tested on the same videos; claims use the {count(len(shared), 'video')} of {num_all} that all have."
        )
    if not shared:
        return Resampled(point={}, replicates={}, num_videos={})
    rng = np.random.default_rng(zlib.crc32(subset.encode()))  # the same draws in every report and for every experiment
    return resample({run: np.array([hits[key] for key in shared]) for run, hits in group.items()}, rng=rng)
