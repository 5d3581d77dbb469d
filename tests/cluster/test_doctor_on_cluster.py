"""The doctor's probe: a job in the image that reports what a node offers and counts its signals."""

import re
from pathlib import Path

from support.cluster import (
    Cluster,
    site,
    wait_for_jobs,
)


def test_the_doctor_finds_the_host_and_a_node_in_order(
    cluster: Cluster, image: Path, shards: Path
) -> None:
    # The cluster's GPUs are numbers: the probe would miss them.
    config = site(image=image, gpus=0, sbatch='{comment = "two words; $(id)", nice = 5}')
    small = "{gpus = 0, cpus = 1, memory_gb = 1, minutes = 10}"
    kinds = "\n".join(f"{kind} = {small}" for kind in ("retrieve", "import", "shard"))
    config = config.replace("[resources]", f"[resources]\n{kinds}")
    folder = cluster.study("doctor", shards=shards, epochs=1, config=config, only="labels")
    said = cluster.kdbatch(folder, "doctor", "--submit", timeout=300)
    assert (
        "a clip was decoded" in said and "SIGUSR2 arrived once; the worker survived it" in said
    ), said
    assert said.count("SLURM would start one at") == 2, said  # of the two requests that differ
    assert "Comment=two words; $(id)" in cluster.run("scontrol", "show", "jobs")
    assert {"comment", "nice"} <= set(re.findall("--([a-z-]+)", cluster.run("sbatch", "--help")))
    wait_for_jobs(lambda: not cluster.queue(folder), timeout=30, what=lambda: cluster.run("squeue"))
