"""The digests of a run's results, which its done.json has and every reader compares.

The report reads three columns of `predictions.parquet`, a hundredth of the file: they have a digest
of their own.
"""

import hashlib
import json

import numpy as np
import polars as pl

from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.reading.local_name import local_name
from kdbatch.result.schema import PREDICTIONS
from kdbatch.vocab.runs.folder import RunFolder


def digest_results(folder: RunFolder, *, known: dict[str, str]) -> dict[str, str]:
    """The sha256 of each file of results that a run has written, by its name.

    `known` are digests that need not be computed again.
    """
    paths = (folder.model, folder.rows, folder.curves, folder.predictions, folder.cka)
    return {p.name: known.get(p.name) or sha256_of(p) for p in paths if p.exists()}


def digest_label_ranks(folder: RunFolder) -> str:
    """The digest of keys and label ranks in `predictions.parquet`; empty without that file."""
    if not folder.predictions.exists():
        return ""
    frame = pl.read_parquet(
        local_name(folder.predictions), glob=False, columns=["key", "group", "place"]
    )
    ranks = frame["place"].cast(PREDICTIONS["place"]).to_numpy()
    return label_ranks_sha256(keys_sha256(frame.select("key", "group")), ranks)


def keys_sha256(keys: pl.DataFrame) -> bytes:
    """The digest of keys and groups in their order. Thousands of runs share theirs, so that it is
    computed apart from that of the ranks.
    """
    return hashlib.sha256(json.dumps(keys.rows()).encode()).digest()


def label_ranks_sha256(keys: bytes, rank_N: np.ndarray) -> str:
    """The digest of label ranks and of their keys, which have the digest `keys`."""
    return hashlib.sha256(keys + rank_N.astype("<i4").tobytes()).hexdigest()
