"""Which test videos each run got right, aligned over runs and resampled for claims and figures.

Axes: N test videos.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdbatch.base.text import plural
from kdbatch.report.data.study import Study
from kdbatch.report.labels import format_number
from kdbatch.report.stats.bootstrap import Resampled, resample

TOP_K = {"top1": 1, "top5": 5}  # metrics that follow from predictions, video by video
TOLERANCE_POINTS = (
    0.05  # accuracy from predictions and accuracy as reported may differ by rounding, not by more
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Correctness:
    """Test videos, sorted by key: was the run right?"""

    keys: tuple[str, ...]
    correct_N: np.ndarray

    def select(self, keys: tuple[str, ...]) -> np.ndarray:
        """Only those of `keys`, which are some of its own, sorted as well."""
        return (
            self.correct_N
            if keys == self.keys
            else self.correct_N[np.isin(np.array(self.keys), np.array(keys))]
        )


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Resampled accuracies of the runs that left predictions, and what was wrong with the others."""

    resampled: Resampled
    warnings: tuple[str, ...] = ()


def resample_runs(study: Study, run_ids: Sequence[str], *, metric: str) -> Evidence:
    """Runs measured on the same subset share their draws of videos."""
    groups, warnings = load_correctness(study, run_ids, metric=metric)
    parts = [_resample_subset(group, subset, warnings) for subset, group in sorted(groups.items())]
    resampled = Resampled(
        accuracy={run: value for part in parts for run, value in part.accuracy.items()},
        replicates={run: value for part in parts for run, value in part.replicates.items()},
        num_videos={run: value for part in parts for run, value in part.num_videos.items()},
    )
    return Evidence(resampled=resampled, warnings=tuple(warnings))


def load_correctness(
    study: Study, run_ids: Sequence[str], *, metric: str
) -> tuple[dict[str, dict[str, Correctness]], list[str]]:
    """By subset and run: which videos the run got right; and what was wrong with runs that are left
    out.
    """
    warnings: list[str] = []
    groups: dict[str, dict[str, Correctness]] = {}
    for run_id in sorted(set(run_ids)):
        found, places = study.measured.get((run_id, metric)), study.label_ranks.get(run_id)
        if found is None or places is None or metric not in TOP_K:
            continue
        hits = Correctness(keys=places.keys, correct_N=places.rank_N < TOP_K[metric])
        percent = 100 * float(hits.correct_N.mean())
        if abs(percent - found.value) > TOLERANCE_POINTS:
            warnings.append(
                f"{study.runs_dir / run_id}/predictions.parquet: its videos give {format_number(percent, digits=2)} percent where rows.parquet "
                f"says {format_number(found.value, digits=2)}. No interval is taken from it."
            )
            continue
        groups.setdefault(found.subset, {})[run_id] = hits
    return groups, warnings


def shared_keys(hits: Sequence[Correctness]) -> tuple[str, ...]:
    """The videos that all have, sorted."""
    kinds = list(dict.fromkeys(h.keys for h in hits))
    return kinds[0] if len(kinds) == 1 else tuple(sorted(set.intersection(*map(set, kinds))))


def _resample_subset(
    group: Mapping[str, Correctness], subset: str, warnings: list[str]
) -> Resampled:
    """Only videos that all runs have: a paired difference needs both."""
    shared = shared_keys(list(group.values()))
    num_all = len(set().union(*{hits.keys for hits in group.values()}))
    if len(shared) < num_all:
        warnings.append(
            f"{subset}: runs were not tested on the same videos; claims use the {plural(len(shared), 'video')} of {num_all} that all have."
        )
    if not shared:
        return Resampled(accuracy={}, replicates={}, num_videos={})
    rng = np.random.default_rng(
        zlib.crc32(subset.encode())
    )  # the same draws in every report and for every experiment
    return resample({run: hits.select(shared) for run, hits in group.items()}, rng=rng)
