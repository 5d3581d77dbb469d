"""Failures, and effects that must not happen twice, on a real SLURM; without accounting unless a
test says otherwise.
"""

import json
import re
import signal
import sys
from pathlib import Path

import pytest
from support.cluster import BOTH, EPOCHS, PROFILE, Cluster, describe, measured, site, wait_for_jobs
from support.wait import wait_until

from kdbatch.base.atomic_write import load_json
from kdbatch.launch.run_status import load_run_rows
from kdbatch.launch.slurm.submissions import load_sbatches
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import load_status

both = pytest.mark.parametrize("cluster", BOTH, indirect=True)


def the_id(study: Path, *words: str) -> str:
    (found,) = (
        row.run_id
        for row in load_run_rows(study / "runs")
        if all(word in row.title for word in words)
    )
    return found


def below(study: Path, run_id: str) -> set[str]:
    """All runs that need `run_id`, directly or not."""
    parents = {
        row.run_id: set(RunFolder(study / "runs" / row.run_id).load().run.parents)
        for row in load_run_rows(study / "runs")
    }
    found = {run_id}
    while more := {child for child, needs in parents.items() if needs & found} - found:
        found |= more
    return found - {run_id}


def told(cluster: Cluster, folder: Path) -> dict[str, dict[str, str]]:
    return {row["run_id"]: row for row in json.loads(cluster.kdbatch(folder, "status", "--json"))}


@pytest.fixture(scope="module")
def broken(cluster: Cluster, image: Path, shards: Path, local_study: Path) -> tuple[Path, str]:
    """A study in which one pretraining finds a damaged checkpoint, when nothing moves any more; and
    that run's id.
    """
    folder = cluster.study("broken", shards=shards, epochs=EPOCHS, config=site(image=image))
    bad = the_id(local_study, "pretrain", "ShuffleNet")
    (folder / "runs" / bad).mkdir(parents=True)
    RunFolder(folder / "runs" / bad).checkpoint.write_bytes(b"neither tensors nor numbers")
    cluster.give(folder / "runs")
    cluster.submit(folder)
    wait_for_jobs(
        lambda: not cluster.queue(folder),
        timeout=600,
        what=lambda: f"an empty queue\n{describe(folder)}\n{cluster.run('squeue')}",
    )
    return folder, bad


@both
def test_a_failing_run_blocks_its_children_alone_and_they_say_so(
    cluster: Cluster, broken: tuple[Path, str], local_study: Path
) -> None:
    folder, bad = broken
    rows, children = told(cluster, folder), below(local_study, bad)
    assert (
        rows[bad]["state"] == "failed" and "cannot be read as a checkpoint" in rows[bad]["reason"]
    )
    assert 0 < len(children) < len(rows) - 1
    assert {run_id for run_id, row in rows.items() if row["state"] == "blocked"} == children
    assert {run_id for run_id, row in rows.items() if row["state"] == "done"} == set(
        rows
    ) - children - {bad}
    for child in children:
        assert "parent" in rows[child]["reason"]


def test_a_child_whose_failed_parent_slurm_has_forgotten_is_blocked_by_its_worker(
    cluster: Cluster, broken: tuple[Path, str]
) -> None:
    folder, bad = broken
    parent = told(cluster, folder)[bad]["job"]
    child = next(
        c
        for c in sorted(below(folder, bad))
        if bad in RunFolder(folder / "runs" / c).load().run.parents
    )
    worker = f"srun {sys.executable} -m kdbatch.run {folder / 'runs' / child}"
    with cluster.configured(MinJobAge="2"):
        wait_for_jobs(
            lambda: forgotten(cluster, parent),
            timeout=120,
            what=lambda: f"job {parent} forgotten\n{cluster.run('squeue')}",
        )
        cluster.run(
            "sbatch",
            f"--dependency=afterok:{parent}",
            "--output=/dev/null",
            f"--wrap={worker}",
            cwd=folder,
        )
        wait_for_jobs(
            lambda: not cluster.queue(folder), timeout=240, what=lambda: cluster.run("squeue")
        )
    status = load_status(RunFolder(folder / "runs" / child).status)
    assert status and status.state == "blocked" and bad in status.reason, describe(folder)


def forgotten(cluster: Cluster, job: str) -> bool:
    asked = cluster.start("scontrol", "show", "job", job)
    return "Invalid job id" in asked.communicate(timeout=60)[0]


@both
def test_retry_failed_finishes_the_rest(
    cluster: Cluster, broken: tuple[Path, str], local_study: Path
) -> None:
    folder, bad = broken
    RunFolder(folder / "runs" / bad).checkpoint.unlink()
    cluster.submit(folder, "--retry-failed")
    cluster.wait_all_done(folder)
    assert measured(folder) == measured(local_study)


def test_a_run_without_enough_memory_ends_once_says_so_and_resume_gives_it_more(
    cluster: Cluster, image: Path, shards: Path
) -> None:
    if not cluster.limits_memory:
        pytest.skip("no memory controller here that SLURM could limit a job with")
    folder = cluster.study(
        "hungry", shards=shards, epochs=1, config=site(image=image, memory_gb=1), only="labels"
    )
    profile = folder / "jobs" / "profiles" / f"{PROFILE}.yaml"
    profile.write_text(
        profile.read_text().replace("size_pixels: 32", "size_pixels: 512")
    )  # takes one and a half GB
    cluster.submit(folder)
    wait_for_jobs(
        lambda: not cluster.queue(folder), timeout=240, what=lambda: cluster.run("squeue")
    )
    (row,) = told(cluster, folder).values()
    assert row["state"] == "stopped" and row["reason"].startswith(
        "ran out of memory with 1 GB; its next job asks for 2 GB"
    ), describe(folder)
    (ended,) = (folder / "runs" / "slurm").glob("*/*.ended")
    assert len(ended.read_text().splitlines()) == 1, "it was started again"
    cluster.kdbatch(folder, "resume")
    cluster.wait_all_done(folder)


def test_two_submits_at_the_same_moment_train_each_run_once(
    cluster: Cluster, shards: Path, local_study: Path
) -> None:
    folder = cluster.study("twice", shards=shards, epochs=EPOCHS, config=site())
    other = folder / "jobs" / "part.yaml"
    other.write_text(
        (folder / "jobs" / "subset_size.yaml")
        .read_text()
        .replace("name: subset_size", "name: part")
    )
    cluster.give(folder)
    both = [
        cluster.start_kdbatch(folder, "submit", f"jobs/{name}.yaml", f"--profile={PROFILE}")
        for name in ("subset_size", "part")
    ]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    handed = [
        run_id
        for sbatch in load_sbatches(folder / "runs" / "slurm").values()
        for run_id in sbatch.keys
    ]
    assert sorted(handed) == sorted(measured(local_study)), said
    counts = re.findall(r"(\d+) handed to SLURM", "\n".join(said))
    assert sum(map(int, counts)) == len(handed), said
    cluster.wait_all_done(folder)
    assert measured(folder) == measured(local_study)
    assert {load_json(done)["attempts"] for done in (folder / "runs").glob("r*/done.json")} == {1}


def test_a_submit_killed_between_two_arrays_neither_loses_nor_doubles_a_run(
    cluster: Cluster, shards: Path, local_study: Path
) -> None:
    folder = cluster.study("killed_submit", shards=shards, epochs=EPOCHS, config=site())
    process = cluster.start_kdbatch(
        folder, "submit", "jobs/subset_size.yaml", f"--profile={PROFILE}"
    )
    # at once: the second array follows soon
    wait_until(lambda: cluster.queue(folder), timeout=60, what=lambda: "a job in the queue")
    process.send_signal(signal.SIGKILL)  # `enter` has become the submit itself
    process.communicate()
    cluster.submit(folder)
    cluster.wait_all_done(folder)
    assert measured(folder) == measured(local_study)
    assert {load_json(done)["attempts"] for done in (folder / "runs").glob("r*/done.json")} == {1}
