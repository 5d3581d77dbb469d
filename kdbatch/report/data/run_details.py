"""Reads details of single runs for the page: curves, accuracy by class, confusions, log end.

Axes: N test videos, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from kdbatch.base.reading.regular_files import open_regular
from kdbatch.report.data.label_ranks import LabelRanks
from kdbatch.report.data.run_facts import RunFacts
from kdbatch.report.data.study import Study
from kdbatch.result.read import read_predictions
from kdbatch.vocab.runs.folder import RunFolder

CURVE_NAMES = ("loss", "accuracy", "held_out_accuracy")
MAX_CURVE_POINTS = 24
MAX_PROBABILITIES = 10_000_000  # that are read, for confusions: a second of a processor
ASSUMED_CLASSES = 400  # of a run that did not record them: none of the four data sets has more
MAX_CONFUSIONS = 10
MAX_LOGS, LOG_LINES, LOG_BYTES = 300, 8, 2000

Curve = tuple[list[int], list[float]]
"""Steps, and the value at each of them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TestSet:
    """Test videos that runs share: names of classes, and the class of each video by sorted key."""

    classes: tuple[str, ...]
    label_N: np.ndarray

    @property
    def num_videos(self) -> list[int]:
        """Videos of each class."""
        return np.bincount(self.label_N, minlength=len(self.classes)).tolist()


@dataclass(frozen=True, kw_only=True)
class RunDetails:
    """Results of single runs, by id; nothing is known of a run without an entry.

    `right` has the index of the run's test set and the videos of each class that it is right on;
    `confusions` are the most frequent (label, prediction, videos) of the runs that were read.
    """

    curves: dict[str, dict[str, Curve]] = field(default_factory=dict)
    tests: list[TestSet] = field(default_factory=list)
    right: dict[str, tuple[int, list[int]]] = field(default_factory=dict)
    confusions: dict[str, list[tuple[int, int, int]]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def add_curves(self, frame: pl.DataFrame) -> None:
        """Keep up to MAX_CURVE_POINTS of each curve."""
        shown = frame.filter(pl.col("name").is_in(CURVE_NAMES), pl.col("value").is_finite())
        lists = shown.group_by("run_id", "name", maintain_order=True).agg("step", "value")
        for run_id, name, steps, values in lists.iter_rows():
            last = len(steps) - 1
            num = min(len(steps), MAX_CURVE_POINTS)
            kept = [round(i * last / max(num - 1, 1)) for i in range(num)]
            curve = [steps[i] for i in kept], [float(f"{values[i]:.4g}") for i in kept]
            self.curves.setdefault(run_id, {})[name] = curve

    def add_results(self, study: Study, runs: Sequence[RunFacts]) -> None:
        """Read classes and confusions of the test videos, and the ends of logs."""
        tested = [run for run in runs if run.run_id in study.label_ranks and run.done]
        tested.sort(key=lambda run: run.kind != "distill")
        place_of = self._read_predictions(study, tested)
        for run in tested:
            ranks = study.label_ranks[run.run_id]
            if (place := place_of.get(id(ranks.keys))) is not None:
                label_N = self.tests[place].label_N
                num_classes = len(self.tests[place].num_videos)
                right_K = np.bincount(label_N[ranks.rank_N == 0], minlength=num_classes)
                self.right[run.run_id] = place, right_K.tolist()
        by_state = sorted(runs, key=lambda run: run.state == "done")
        for run in by_state[:MAX_LOGS]:
            if end := _log_end(RunFolder(study.runs_dir / run.run_id)):
                self.logs[run.run_id] = end

    def _read_predictions(self, study: Study, tested: Sequence[RunFacts]) -> dict[int, int]:
        """Read the first of these runs; return the index of each test set by the identity of the
        keys, which the runs that were tested on it share.
        """
        place_of: dict[int, int] = {}
        chosen = _within_budget(tested, study.label_ranks)
        predictions = read_predictions(study.runs_dir, [run.run_id for run in chosen])
        self.warnings.extend(predictions.warnings)
        parts = predictions.frame.partition_by("run_id", as_dict=True)
        for run in chosen:
            keys = study.label_ranks[run.run_id].keys
            part = parts.get((run.run_id,))
            if part is None or not _has_keys(part := part.sort("key"), keys):
                continue
            classes = run.done.facts.classes if run.done else ()
            test = TestSet(classes=classes, label_N=part["label"].to_numpy())
            if id(keys) not in place_of:
                place_of[id(keys)] = len(self.tests)
                self.tests.append(test)
            self.confusions[run.run_id] = _confusions(part)
        return place_of


def _within_budget(runs: Sequence[RunFacts], ranks: dict[str, LabelRanks]) -> list[RunFacts]:
    """Return the first run of each set of test videos, and others while they are within budget."""
    chosen, known, left = [], set(), MAX_PROBABILITIES
    for run in runs:
        keys = ranks[run.run_id].keys
        classes = run.done.facts.classes if run.done else ()
        left -= len(keys) * (len(classes) or ASSUMED_CLASSES)
        if left >= 0 or id(keys) not in known:
            chosen.append(run)
        known.add(id(keys))
    return chosen


def _has_keys(part: pl.DataFrame, keys: Sequence[str]) -> bool:
    """Whether these are predictions of these videos, each with a label."""
    labels = part["label"]
    is_labelled = not labels.null_count() and len(labels) and (labels >= 0).all()
    return bool(is_labelled) and tuple(part["key"]) == tuple(keys)


def _confusions(part: pl.DataFrame) -> list[tuple[int, int, int]]:
    wrong = part.select("label", predicted=pl.col("probability_K").list.arg_max())
    counts = wrong.filter(pl.col("predicted") != pl.col("label")).group_by("label", "predicted")
    ordered = counts.len().sort("len", "label", "predicted", descending=[True, False, False])
    return ordered.head(MAX_CONFUSIONS).rows()


def _log_end(folder: RunFolder) -> str:
    """Return the last lines of the run's log; empty where it cannot be read."""
    try:
        with open_regular(folder.log) as file:
            file.seek(max(0, file.seek(0, 2) - LOG_BYTES))
            lines = file.read(LOG_BYTES).decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(lines[-LOG_LINES:])
