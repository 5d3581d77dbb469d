"""Jobs that wait in a real queue."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import EPOCHS, Cluster, site, the_run

from kdbatch.vocab.jobs.lost_nodes import note_lost_node

BLOCK = (
    "--partition=gpu",
    "--nodelist=n4",
    "--exclusive",
    "--output=/dev/null",
    "--wrap=sleep 600",
)


@pytest.fixture
def waiting(cluster: Cluster, shards: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A study of one run, whose job waits for a node that another job has."""
    said = cluster.run("sbatch", *BLOCK, "--parsable")
    config = site(constraint='"n4"')
    name = request.function.__name__[:20]
    folder = cluster.study(name, shards=shards, epochs=EPOCHS, config=config, only="labels")
    cluster.submit(folder)
    yield folder
    cluster.run("scancel", said.strip(), *cluster.queue(folder))


def test_a_job_that_waits_is_kept_from_the_node_that_its_run_has_lost(
    cluster: Cluster, waiting: Path
) -> None:
    note_lost_node(waiting / "runs", node="n2", run_id=the_run(waiting).run_id)
    cluster.give(waiting)
    cluster.submit(waiting)
    (job,) = cluster.queue(waiting)
    assert " ExcNodeList=n2 " in cluster.run("scontrol", "--oneliner", "show", "job", job)
