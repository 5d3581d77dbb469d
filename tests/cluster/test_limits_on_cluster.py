"""A limit on the number of jobs, which the accounting of a real SLURM enforces."""

from pathlib import Path

import pytest
from support.cluster import (
    EPOCHS,
    PROFILE,
    WITH,
    Cluster,
    describe,
    site,
    wait_for_jobs,
)


@pytest.mark.rare  # with accounting
@pytest.mark.parametrize("cluster", [WITH], indirect=True)
def test_what_a_limit_on_jobs_leaves_planned_is_named_by_status_and_follows_with_resume(
    cluster: Cluster, shards: Path
) -> None:
    folder = cluster.study("limited", shards=shards, epochs=EPOCHS, config=site(), only="labels")
    path = folder / "jobs" / "profiles" / f"{PROFILE}.yaml"
    path.write_text(path.read_text().replace("seeds: [0]", "seeds: [0, 1, 2, 3, 4, 5]"))
    with cluster.limited(most_jobs=4):
        said = cluster.submit(folder)
        assert "4 handed to SLURM, 2 planned" in said, said
        assert "SLURM takes no more jobs now (AssocMaxSubmitJobLimit)" in said, said
        said = cluster.kdbatch(folder, "status")
        assert "(AssocMaxSubmitJobLimit), so 2 runs of the last submit stay planned" in said, said
        wait_for_jobs(
            lambda: not cluster.queue(folder),
            timeout=300,
            what=lambda: f"an empty queue\n{describe(folder)}\n{cluster.run('squeue')}",
        )
        assert "2 handed to SLURM" in cluster.kdbatch(folder, "resume")
        cluster.wait_all_done(folder)
    assert "AssocMaxSubmitJobLimit" not in cluster.kdbatch(folder, "status")
