"""Names of the metrics of a network, which tables and claims may use.

docs/RESULTS_SCHEMA.md defines each of them.
"""

from typing import Literal

Metric = Literal[
    "top1",
    "top5",
    "clip_top1",
    "clip_top5",
    "test_videos",
    "held_out_top1",
    "held_out_videos",
    "best_epoch",
    "recall_at_1",
    "recall_at_5",
    "recall_at_10",
    "recall_at_20",
    "recall_at_50",
    "maxpool_recall_at_1",
    "maxpool_recall_at_5",
    "maxpool_recall_at_10",
    "maxpool_recall_at_20",
    "maxpool_recall_at_50",
    "gallery_videos",
    "teacher_ensemble_top1",
    "teacher_oracle_top1",
    "teacher_error_correlation",
    "teacher_disagreement",
    "parameters",
    "clips_per_second",
    "train_seconds",
    "idle_share",
    "gpu_utilisation",
    "data_wait_share",  # of runs of versions up to 0.2
    "max_memory",
]

Unit = Literal["percent", "count", "seconds", "clips/s", "GB", "1"]
"""Unit of a measured number; "1" is a pure number, for example a loss or a CKA value."""

_PERCENT = ("top1", "top5", "recall_at_", "disagreement")


def is_percent(metric: str) -> bool:
    """Return whether a metric is a share in percent, so that differences are points."""
    return any(part in metric for part in _PERCENT)
