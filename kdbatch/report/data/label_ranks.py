"""What every run left about its test videos, read once. Axes: N test videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from kdbatch.result.read import in_batches, read_label_ranks


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelRanks:
    """One run's test videos, sorted by key, and how many classes it put before the label of each
    (0: right). Runs that were tested on the same videos share one tuple of keys.
    """

    keys: tuple[str, ...]
    rank_N: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class _KeyOrder:
    """Keys as some runs stored them, and how to sort them."""

    stored: pl.Series
    keys: tuple[str, ...]
    order_N: np.ndarray


def load_label_ranks(
    runs_dir: Path, run_ids: Sequence[str]
) -> tuple[dict[str, LabelRanks], tuple[str, ...]]:
    """Places by run, and a line for each file that could not be used."""
    found: dict[str, LabelRanks] = {}
    warnings: list[str] = []
    orders: list[_KeyOrder] = []
    for part in in_batches(run_ids):
        scan = read_label_ranks(runs_dir, part)
        warnings += scan.warnings
        for (run_id,), frame in scan.frame.group_by("run_id", maintain_order=True):
            order = _key_order(frame["key"], orders)
            if order is None or frame["place"].null_count() or (frame["place"] < 0).any():
                path = runs_dir / str(run_id) / "predictions.parquet"
                warnings.append(
                    f"{path}: it holds keys or places that are none. No interval is taken from it."
                )
                continue
            found[str(run_id)] = LabelRanks(
                keys=order.keys, rank_N=frame["place"].to_numpy()[order.order_N]
            )
    return found, tuple(warnings)


def _key_order(stored: pl.Series, orders: list[_KeyOrder]) -> _KeyOrder | None:
    """That of these keys, which is new to few runs; None where keys are missing or not unique."""
    for order in orders:
        if order.stored.equals(stored):
            return order
    if stored.null_count() or stored.n_unique() < len(stored):
        return None
    order_N = stored.arg_sort().to_numpy()
    keys = tuple(stored.gather(order_N).to_list())
    same = next((o.keys for o in orders if o.keys == keys), keys)
    orders.append(_KeyOrder(stored=stored, keys=same, order_N=order_N))
    return orders[-1]
