"""Reads the label rank of every test video of every run. Axis: N test videos.

A label rank is the number of classes that the run scores above the label; 0 means that the
prediction is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from kdbatch.result.read import in_batches, read_label_ranks


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelRanks:
    """Label ranks of one run's test videos, sorted by key.

    Runs that were tested on the same videos share one tuple of keys.
    """

    keys: tuple[str, ...]
    rank_N: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class _KeyOrder:
    """Keys in the order in which some runs stored them, and the indexes that sort them."""

    stored: pl.Series
    keys: tuple[str, ...]
    order_N: np.ndarray


def load_label_ranks(
    runs_dir: Path, run_ids: Sequence[str]
) -> tuple[dict[str, LabelRanks], tuple[str, ...]]:
    """Return the label ranks by run id, and a warning for each file that could not be used."""
    ranks: dict[str, LabelRanks] = {}
    warnings: list[str] = []
    orders: list[_KeyOrder] = []
    for batch in in_batches(run_ids):
        predictions = read_label_ranks(runs_dir, batch)
        warnings += predictions.warnings
        for (run_id,), frame in predictions.frame.group_by("run_id", maintain_order=True):
            order = _key_order(frame["key"], orders)
            rank = frame["place"]
            if order is None or rank.null_count() or (rank < 0).any():
                path = runs_dir / str(run_id) / "predictions.parquet"
                warnings.append(
                    f"{path}: it holds missing or repeated keys, or missing or negative label "
                    "ranks. No interval is computed from it."
                )
                continue
            sorted_N = rank.to_numpy()[order.order_N]
            ranks[str(run_id)] = LabelRanks(keys=order.keys, rank_N=sorted_N)
    return ranks, tuple(warnings)


def _key_order(stored: pl.Series, orders: list[_KeyOrder]) -> _KeyOrder | None:
    """Return the order of these keys; None where keys are missing or not unique.

    Most runs store the same keys in the same order, so that `orders`, to which a new order is
    added, stays short.
    """
    for order in orders:
        if order.stored.equals(stored):
            return order
    if stored.null_count() or stored.n_unique() < len(stored):
        return None
    order_N = stored.arg_sort().to_numpy()
    keys = tuple(stored.gather(order_N).to_list())
    shared_keys = next((order.keys for order in orders if order.keys == keys), keys)
    orders.append(_KeyOrder(stored=stored, keys=shared_keys, order_N=order_N))
    return orders[-1]
