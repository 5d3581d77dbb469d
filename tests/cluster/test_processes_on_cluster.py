"""One run on two nodes: a process each, which meet over the network."""

from pathlib import Path

import micro_study as micro
import polars as pl
import pytest
from cluster_world import Cluster, describe, make_study, site, the_run

from kdbatch.vocab.publish import load_json
from kdbatch.vocab.runs import RunFolder

EPOCHS = 4


def losses(folder: Path) -> list[float]:
    curves = pl.read_parquet(RunFolder(folder / "runs" / the_run(folder).run_id).curves)
    return curves.filter(pl.col("name") == "loss").sort("step")["value"].to_list()


def test_two_nodes_with_a_process_each_begin_as_one_process_does_and_train_to_the_end(
    cluster: Cluster, image: Path, shards: Path, toys: Path, tmp_path: Path
) -> None:
    folder = cluster.study("two_nodes", shards=shards, epochs=EPOCHS, config=site(image=image, nodes=2), only="labels")
    cluster.submit(folder)
    alone = make_study(tmp_path, shards=toys / "shards", epochs=EPOCHS, only="labels")
    micro.finish(micro.submit(alone, alone / "jobs" / "labels.yaml", jobs=1))
    cluster.wait_all_done(folder)
    done = load_json(RunFolder(folder / "runs" / the_run(folder).run_id).done)
    assert done["attempts"] == 1, describe(folder)
    assert done["device_hours"] == pytest.approx(2 * done["seconds"] / 3600)
    # Same weights, same clips, same augmentation; then the same update. Later steps only tell how this network of a sixteenth's width
    # multiplies what rounding differs by when a batch of eight is summed in two halves: some hundred times each.
    together, by_itself = losses(folder), losses(alone)
    assert len(together) == len(by_itself) == EPOCHS
    assert together[0] == pytest.approx(by_itself[0], rel=1e-5)
    assert together[1] == pytest.approx(by_itself[1], rel=1e-2)
