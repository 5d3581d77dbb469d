"""The doctor's probe: a job in the image that says what a node offers, and hears its signal once."""

from pathlib import Path

from cluster_world import Cluster, site


def test_the_doctor_finds_the_host_and_a_node_in_order(cluster: Cluster, image: Path, shards: Path) -> None:
    folder = cluster.study("doctor", shards=shards, epochs=1, config=site(image=image), only="labels")
    said = cluster.kdbatch(folder, "doctor", "--submit", timeout=300)
    assert "SIGUSR2" in said or "signal" in said, said
    assert not cluster.queue(folder)
