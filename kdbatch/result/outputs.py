"""Reads the outputs of a network that kdbatch cannot run: a Parquet file that somebody else wrote.

Axes: N videos, V views of each, K outputs of the network.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from kdbatch.base.errors import UserError
from kdbatch.base.reading.local_name import local_name
from kdbatch.result.schema import OUTPUTS

_FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError)


def read_outputs(
    path: Path,
    split: Literal["train", "test"],
    keys: Sequence[str],
    *,
    num_classes: int,
    where: str,
) -> np.ndarray:
    """logit_NVK, float32, of the videos `keys` of a split; rows of other videos are not used.

    Raises:
        UserError: the file is no such table, a video has no row, videos have different views, or a
            row has another number of logits or one that is not finite; it starts with `where`.
    """
    try:
        lazy = pl.scan_parquet(local_name(path), glob=False)
        columns = [pl.col(name).cast(kind, strict=True) for name, kind in OUTPUTS.items()]
        frame = lazy.select(columns).filter(pl.col("split") == split).collect()
    except _FAILURES as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise UserError(
            f"{where}: is no table of outputs ({reason}). Columns: {', '.join(OUTPUTS)}, as in "
            "docs/RESULTS_SCHEMA.md."
        ) from error
    place = {key: n for n, key in enumerate(keys)}
    frame = frame.filter(pl.col("key").is_in(list(keys))).sort("key", "view")
    counts = dict(frame.group_by("key").len().iter_rows())
    missing = [key for key in keys if key not in counts]
    if missing:
        raise UserError(
            f"{where}: {len(missing)} of {len(keys)} {split} videos have no row: "
            f"{', '.join(missing[:3])}. Keys are those of the shards' samples."
        )
    num_views = counts[keys[0]]
    views = (
        frame["view"].to_numpy().reshape(len(keys), -1) if len(set(counts.values())) == 1 else None
    )
    if views is None or (views != np.arange(num_views)).any():
        raise UserError(
            f"{where}: {split} videos differ in their views. Write the views 0, 1, ... of each "
            "video, once and as many for all."
        )
    lengths = frame["logit_K"].list.len()
    if (lengths != num_classes).any():
        raise UserError(
            f"{where}: a row has {lengths.min()} to {lengths.max()} logits, and classes has "
            f"{num_classes} names. Write one logit for each name."
        )
    logit_NVK = frame["logit_K"].explode().to_numpy().reshape(len(keys), num_views, num_classes)
    if not np.isfinite(logit_NVK).all():
        raise UserError(f"{where}: a logit is no finite number. Write it again.")
    order = np.argsort([place[key] for key in frame["key"].unique(maintain_order=True)])
    return logit_NVK[order]
