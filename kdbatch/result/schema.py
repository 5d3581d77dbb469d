"""The columns of every Parquet file that a run writes, and of the one that an import reads.

- `rows`: numbers measured once per run, one per row: `top1`, `parameters`, `block_index`, ...
- `curves`: the same columns, one row per epoch: `loss`, `lr`, `accuracy`, ...
- `predictions`: one test video per row: its group (videos of one scene or person), its label, the
  mean softmax and mean logits over its clips, and in `place` the rank of the label, counted from 0
  (0 means that the prediction is right). Files of version 0.2 and older have no group.
- `cka`: one pair of layers per row: its CKA in `value`, and its RSA, which files of version 0.2 and
  older have not.

The values of `unit` are listed in vocab/metrics.py. Suffix K: one entry per class.
"""

import polars as pl

ROWS: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "name": pl.String(),
    "value": pl.Float64(),
    "unit": pl.String(),
    "subset": pl.String(),
    "step": pl.Int64(),
}
CURVES = ROWS
PREDICTIONS: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "key": pl.String(),
    "group": pl.String(),
    "label": pl.Int32(),
    "place": pl.Int32(),
    "probability_K": pl.List(pl.Float32()),
    "logit_K": pl.List(pl.Float32()),
}
# Columns that files of older versions lack; they are read as null.
LATER_COLUMNS = frozenset({"group", "rsa"})
CKA: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "index_a": pl.Int32(),
    "index_b": pl.Int32(),
    "layer_a": pl.String(),
    "layer_b": pl.String(),
    "kind_a": pl.String(),
    "kind_b": pl.String(),
    "value": pl.Float64(),
    "rsa": pl.Float64(),
}
OUTPUTS: dict[str, pl.DataType] = {
    "split": pl.String(),
    "key": pl.String(),
    "view": pl.Int64(),
    "logit_K": pl.List(pl.Float32()),
}
"""The columns of a file of outputs, which another program writes."""
