"""Jobs that wait in a real queue: a site's old answer of squeue, and a node that was lost."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cluster import EPOCHS, PROFILE, Cluster, site, the_run

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


def test_an_answer_from_before_the_submit_neither_doubles_a_run_nor_keeps_a_cancelled_one(
    cluster: Cluster, waiting: Path
) -> None:
    old = waiting / "bin"
    old.mkdir()
    (old / "squeue").write_text("#!/bin/sh\n")  # nothing was in the queue
    (old / "squeue").chmod(0o755)
    env = {"PATH": f"{old}:{os.environ['PATH']}"}

    def kdbatch(*words: str) -> str:
        return cluster.run(sys.executable, "-m", "kdbatch", *words, cwd=waiting, env=env)

    submit = ("submit", "jobs/labels.yaml", f"--profile={PROFILE}")
    (job,) = cluster.queue(waiting)
    assert "1 in SLURM's queue before" in kdbatch(*submit) and list(cluster.queue(waiting)) == [job]
    assert f"{the_run(waiting).run_id}\tqueued" in kdbatch("status")
    assert kdbatch("cancel", "--all").startswith("1 job cancelled")
    assert cluster.queue(waiting) == {} and "1 handed to SLURM" in kdbatch(*submit)


def test_a_job_that_waits_is_kept_from_the_node_that_its_run_has_lost(
    cluster: Cluster, waiting: Path
) -> None:
    note_lost_node(waiting / "runs", node="n2", run_id=the_run(waiting).run_id)
    cluster.give(waiting)
    cluster.submit(waiting)
    (job,) = cluster.queue(waiting)
    assert " ExcNodeList=n2 " in cluster.run("scontrol", "--oneliner", "show", "job", job)
