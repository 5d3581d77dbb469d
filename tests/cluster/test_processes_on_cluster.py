"""One run on two nodes: a process each, which meet over the network."""

from pathlib import Path

import polars as pl
import pytest
from cluster_world import Cluster, describe, site, the_run

from kdbatch.vocab.publish import load_json
from kdbatch.vocab.runs import RunFolder

EPOCHS = 8


def test_two_nodes_with_a_process_each_train_one_network(cluster: Cluster, image: Path, shards: Path) -> None:
    folder = cluster.study("two_nodes", shards=shards, epochs=EPOCHS, config=site(image=image, nodes=2), only="labels")
    cluster.submit(folder)
    cluster.wait_all_done(folder)
    run = RunFolder(folder / "runs" / the_run(folder).run_id)
    done = load_json(run.done)
    assert done["attempts"] == 1, describe(folder)
    assert done["device_hours"] == pytest.approx(2 * done["seconds"] / 3600)
    losses = pl.read_parquet(run.curves).filter(pl.col("name") == "loss")["value"].to_list()
    assert len(losses) == EPOCHS and losses[-1] < losses[0]
