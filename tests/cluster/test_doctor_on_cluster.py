"""The doctor's probe: a job in the image that reports what a node offers and counts its signals."""

from pathlib import Path

from support.cluster import Cluster, site
from support.wait import wait_until


def test_the_doctor_finds_the_host_and_a_node_in_order(
    cluster: Cluster, image: Path, shards: Path
) -> None:
    config = site(image=image, gpus=0)  # the cluster's GPUs are numbers: the probe would miss them
    folder = cluster.study("doctor", shards=shards, epochs=1, config=config, only="labels")
    said = cluster.kdbatch(folder, "doctor", "--submit", timeout=300)
    assert (
        "a clip was decoded" in said and "SIGUSR2 arrived once; the worker survived it" in said
    ), said
    wait_until(lambda: not cluster.queue(folder), timeout=30, what=lambda: cluster.run("squeue"))
