"""`kdbatch shard --slurm` on a real SLURM, in the image."""

import shutil
from pathlib import Path

from support.cluster import Cluster, site, wait_for_jobs

from kdbatch.vocab.shards.index import load_index


def test_shards_made_by_an_array_are_those_made_here_byte_for_byte(
    cluster: Cluster, image: Path, shards: Path, toys: Path
) -> None:
    folder = cluster.work / "sharding"
    shutil.copytree(toys / "toys" / "ucf101", folder / "videos")
    resources = "[resources]\nshard = {gpus = 0, cpus = 1, minutes = 10, memory_gb = 2}"
    (folder / "kdbatch.toml").write_text(site(image=image).replace("[resources]", resources))
    cluster.give(folder)
    words = ("shard", "ucf101", "--root=videos", "--videos-per-shard=8", "--slurm")
    here = load_index(shards, "ucf101").parts["all"].shards
    assert len(here) > 1 and f"with {len(here)} elements" in cluster.kdbatch(folder, *words)
    wait_for_jobs(
        lambda: not cluster.queue(folder), timeout=240, what=lambda: cluster.run("squeue")
    )
    logs = "\n".join(
        log.read_text() for log in (folder / "shards" / "ucf101" / "slurm" / "all").glob("*.log")
    )
    assert (folder / "shards" / "ucf101" / "index.json").exists(), logs
    assert load_index(folder / "shards", "ucf101") == load_index(shards, "ucf101")
    for shard in here:
        assert (folder / "shards" / "ucf101" / shard.name).read_bytes() == (
            shards / "ucf101" / shard.name
        ).read_bytes()
    assert "0 of" in cluster.kdbatch(folder, *words), "made again"
    assert not cluster.queue(folder)
