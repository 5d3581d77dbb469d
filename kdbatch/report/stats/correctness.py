"""Finds which test videos each run got right, and resamples them for claims and figures.

Axis: N test videos.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdbatch.base.text import plural
from kdbatch.report.data.study import Study
from kdbatch.report.labels import format_number
from kdbatch.report.stats.bootstrap import Replicates, Resampled, resample

TOP_K = {"top1": 1, "top5": 5}  # metrics that can be computed from predictions, video by video
# Accuracy computed from predictions and the reported one may differ by rounding, not by more.
TOLERANCE_POINTS = 0.05


@dataclass(frozen=True, kw_only=True, eq=False)
class Correctness:
    """One run's test videos, sorted by key; `correct_N` is true where the prediction is right.

    `groups` names the scene or person of each video.
    """

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    correct_N: np.ndarray

    def select(self, keys: tuple[str, ...]) -> np.ndarray:
        """Return `correct_N` of the videos `keys`: a sorted subset of its own keys."""
        if keys == self.keys:
            return self.correct_N
        return self.correct_N[np.isin(np.array(self.keys), np.array(keys))]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Resampled accuracies, and a warning for each run whose predictions cannot be used."""

    resampled: Resampled
    warnings: tuple[str, ...] = ()


def resample_runs(
    study: Study, run_ids: Sequence[str], *, metric: str, also: Sequence[str] = ()
) -> Evidence:
    """Resample the accuracies of runs; runs measured on the same subset share their draws, and so
    do runs of several folds of a data set, whose videos may be the same.

    `also` are runs that another part of the report will ask for: where all were tested on the same
    videos they are drawn at once, which costs little more, and kept in `study.resampled`.
    """
    groups, warnings = load_correctness(study, run_ids, metric=metric)
    others, _ = load_correctness(study, also, metric=metric) if also else ({}, [])
    parts = []
    for subset, group in sorted(groups.items()):
        wider = others.get(subset, {}) | group
        folds = _folds_of(subset, groups)
        videos = {(id(run.keys), id(run.groups)) for run in wider.values()}
        if len(videos) > 1 or folds:
            parts.append(_resample_subset(group, subset, warnings, folds=folds))
            continue
        key = (metric, subset, *videos.pop())
        known = study.resampled.get(key)
        if known is None or not group.keys() <= known.accuracy.keys():
            study.resampled.clear()  # of another experiment
            known = _resample_subset(wider, subset, warnings, folds={})
            study.resampled[key] = known
        parts.append(known.of(group))
    resampled = Resampled(
        accuracy={run: value for part in parts for run, value in part.accuracy.items()},
        replicates=Replicates(
            draws={run: own for part in parts for run, own in part.replicates.draws.items()}
        ),
        num_videos={run: value for part in parts for run, value in part.num_videos.items()},
        num_groups={run: value for part in parts for run, value in part.num_groups.items()},
    )
    return Evidence(resampled=resampled, warnings=tuple(warnings))


def load_correctness(
    study: Study, run_ids: Sequence[str], *, metric: str
) -> tuple[dict[str, dict[str, Correctness]], list[str]]:
    """Return the correctness by subset and run, and a warning for each run that is left out.

    A run is left out where its predictions contradict the accuracy that it reported.
    """
    warnings: list[str] = []
    groups: dict[str, dict[str, Correctness]] = {}
    for run_id in sorted(set(run_ids)):
        reported, ranks = study.measured.get((run_id, metric)), study.label_ranks.get(run_id)
        if reported is None or ranks is None or metric not in TOP_K:
            continue
        correctness = Correctness(
            keys=ranks.keys, groups=ranks.groups, correct_N=ranks.rank_N < TOP_K[metric]
        )
        percent = 100 * float(correctness.correct_N.mean())
        if abs(percent - reported.value) > TOLERANCE_POINTS:
            warnings.append(
                f"{study.runs_dir / run_id}/predictions.parquet: its videos give "
                f"{format_number(percent, digits=2)} percent, but rows.parquet has "
                f"{format_number(reported.value, digits=2)}. No interval is computed from it."
            )
            continue
        groups.setdefault(reported.subset, {})[run_id] = correctness
    return groups, warnings


def shared_keys(runs: Sequence[Correctness]) -> tuple[str, ...]:
    """Return the keys of the videos that all runs have, sorted."""
    distinct = _distinct_keys(runs)
    if len(distinct) == 1:
        return distinct[0]
    return tuple(sorted(set.intersection(*map(set, distinct))))


def _distinct_keys(runs: Iterable[Correctness]) -> list[tuple[str, ...]]:
    """The tuples of keys that runs have. Most share one: its hash takes longer than this."""
    by_object = {id(run.keys): run.keys for run in runs}
    return list(dict.fromkeys(by_object.values()))


def _folds_of(
    subset: str, groups: Mapping[str, Mapping[str, Correctness]]
) -> dict[str, Mapping[str, Correctness]]:
    """The subsets of the same data set, if there are several."""
    dataset = subset.split("/")[0]
    found = {name: runs for name, runs in groups.items() if name.split("/")[0] == dataset}
    return found if len(found) > 1 else {}


def _resample_subset(
    group: Mapping[str, Correctness],
    subset: str,
    warnings: list[str],
    *,
    folds: Mapping[str, Mapping[str, Correctness]],
) -> Resampled:
    """Resample over the videos that all runs have: a paired difference needs both."""
    shared = shared_keys(list(group.values()))
    num_all = len(set().union(*_distinct_keys(group.values())))
    if len(shared) < num_all:
        warnings.append(
            f"{subset}: runs were not tested on the same videos; claims use the "
            f"{plural(len(shared), 'video')} of {num_all} that all runs have."
        )
    if not shared:
        return Resampled(accuracy={}, replicates=Replicates(draws={}), num_videos={}, num_groups={})
    # The same draws in every report and for every experiment.
    drawn_for = subset.split("/")[0] if folds else subset
    distinct = {id(run.groups): run.groups for runs in folds.values() for run in runs.values()}
    names = {name for run_groups in distinct.values() for name in run_groups}
    return resample(
        {run: found.select(shared) for run, found in group.items()},
        groups=_groups_of(shared, list(group.values())),
        all_groups=sorted(names),
        seed=zlib.crc32(drawn_for.encode()),
    )


def _groups_of(keys: Sequence[str], runs: Sequence[Correctness]) -> list[str]:
    """The group of each video; a run of an older version names the video itself."""
    group_of: dict[str, str] = {}
    pairs = {(id(run.keys), id(run.groups)): (run.keys, run.groups) for run in runs}
    for run_keys, run_groups in pairs.values():
        for key, name in zip(run_keys, run_groups, strict=True):
            if group_of.get(key, key) == key:
                group_of[key] = name
    return [group_of[key] for key in keys]
