"""The columns of every Parquet file that a run writes. Axes: K classes.

rows         one number per row, measured once: `top1`, `top5`, `clip_top1`, `parameters`,
`pretext_accuracy`, `block_index`, ... curves       the same columns, many steps: `loss`, `lr`,
`accuracy`, ... predictions  one test video per row: label, mean softmax over its clips, and how
many classes it puts before the label (`place`, 0: right) cka          one pair of layers per row
Units: percent, share, count, seconds, clips/s, nats, or 1 for a pure number.
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
    "label": pl.Int32(),
    "place": pl.Int32(),
    "probability_K": pl.List(pl.Float32()),
    "logit_K": pl.List(pl.Float32()),
}
CKA: dict[str, pl.DataType] = {
    "run_id": pl.String(),
    "index_a": pl.Int32(),
    "index_b": pl.Int32(),
    "layer_a": pl.String(),
    "layer_b": pl.String(),
    "kind_a": pl.String(),
    "kind_b": pl.String(),
    "value": pl.Float64(),
}
