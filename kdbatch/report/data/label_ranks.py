"""Reads the label rank of every test video of every run. Axis: N test videos.

A label rank is the number of classes that the run scores above the label; 0 means that the
prediction is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from kdbatch.result.digests import keys_sha256, label_ranks_sha256
from kdbatch.result.read import DoneRecords, damage, in_batches, read_label_ranks


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelRanks:
    """Label ranks of one run's test videos, sorted by key.

    Runs that were tested on the same videos share one tuple of keys, and one of groups: the names
    of the videos' scenes or persons, or the keys themselves in files of version 0.2 and older.
    """

    keys: tuple[str, ...]
    groups: tuple[str, ...]
    rank_N: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class _KeyOrder:
    """Keys and groups in the order in which some runs stored them, their digest, and the indexes
    that sort them.
    """

    stored: pl.DataFrame
    stored_sha256: bytes
    keys: tuple[str, ...]
    groups: tuple[str, ...]
    order_N: np.ndarray


def load_label_ranks(
    runs_dir: Path, run_ids: Sequence[str], *, done: DoneRecords
) -> tuple[dict[str, LabelRanks], tuple[str, ...]]:
    """Return the label ranks by run id, and a warning for each file that could not be used.

    Those whose digest is in `done` are compared with it.
    """
    ranks: dict[str, LabelRanks] = {}
    warnings: list[str] = []
    orders: list[_KeyOrder] = []
    for batch in in_batches(run_ids):
        predictions = read_label_ranks(runs_dir, batch, done=done)
        warnings += predictions.warnings
        parts = _split_by_run(predictions.frame)
        for run_id in batch:
            digest = done[run_id].label_ranks_sha256 if run_id in done else ""
            if run_id not in parts and not digest:
                continue
            path = runs_dir / run_id / "predictions.parquet"
            if any(warning.startswith(f"{path}:") for warning in predictions.warnings):
                continue
            stored, rank = parts.get(run_id) or _no_rows(predictions.frame)
            order, rank_N = _key_order(stored, orders), rank.to_numpy()
            if order is None or rank.null_count() or (rank_N < 0).any():
                warnings.append(
                    f"{path}: it holds missing or repeated keys, or missing or negative label "
                    "ranks. No interval is computed from it."
                )
            elif digest not in ("", label_ranks_sha256(order.stored_sha256, rank_N)):
                reason = "its label ranks are not those that were written there"
                warnings.append(damage(path, reason))
            else:
                sorted_N = rank_N[order.order_N]
                ranks[run_id] = LabelRanks(keys=order.keys, groups=order.groups, rank_N=sorted_N)
    return ranks, tuple(warnings)


def _split_by_run(frame: pl.DataFrame) -> dict[str, tuple[pl.DataFrame, pl.Series]]:
    """Keys with groups, and label ranks, of each run. Its rows follow one another: a file holds the
    rows of one run.
    """
    stored, rank = frame.select("key", "group"), frame["place"]
    lengths = frame["run_id"].rle().struct
    parts, first = {}, 0
    for run_id, length in zip(lengths.field("value"), lengths.field("len"), strict=True):
        parts[run_id] = stored.slice(first, length), rank.slice(first, length)
        first += length
    return parts


def _no_rows(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    return frame.select("key", "group").clear(), frame["place"].clear()


def _key_order(stored: pl.DataFrame, orders: list[_KeyOrder]) -> _KeyOrder | None:
    """Return the order of these keys; None where keys are missing or not unique.

    Most runs store the same keys in the same order, so that `orders`, to which a new order is
    added, stays short.
    """
    for order in orders:
        if order.stored.equals(stored):
            return order
    key = stored["key"]
    if key.null_count() or key.n_unique() < len(key):
        return None
    order_N = key.arg_sort().to_numpy()
    keys = tuple(key.gather(order_N).to_list())
    named = stored.select(pl.coalesce("group", "key")).to_series().gather(order_N)
    groups = tuple(named.to_list())
    same = next((order for order in orders if (order.keys, order.groups) == (keys, groups)), None)
    if same:
        keys, groups = same.keys, same.groups
    orders.append(
        _KeyOrder(
            stored=stored,
            stored_sha256=keys_sha256(stored),
            keys=keys,
            groups=groups,
            order_N=order_N,
        )
    )
    return orders[-1]
