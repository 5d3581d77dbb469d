"""One run, interrupted in every way that a cluster knows. Each time it goes on from its checkpoint
and ends with the weights of the run that nobody touched, and the interruption is counted under what
it was.
"""

import math
import os
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from support import micro_study as micro
from support.cluster import (
    BOTH,
    WITH,
    Cluster,
    describe,
    go_on,
    has_checkpoint,
    make_study,
    measured,
    site,
    stopped,
    the_run,
    wait_for_jobs,
)

from kdbatch.base.atomic_write import load_json
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.status import load_status

# a quarter of a minute on one slow core: the first checkpoint is written five seconds after the
# first step
EPOCHS = 600
LIMIT_SECONDS = 60  # SLURM's shortest
Act = Callable[[Cluster, str, int], None]


def signalled(name: str) -> Act:
    def act(cluster: Cluster, job: str, pid: int) -> None:
        cluster.run("scancel", f"--signal={name}", job)

    return act


def preempted(cluster: Cluster, job: str, pid: int) -> None:
    cluster.run(
        "sbatch",
        "--partition=gpu",
        "--nodelist=n1",
        "--exclusive",
        "--output=/dev/null",
        "--wrap=sleep 3",
    )


def requeued(cluster: Cluster, job: str, pid: int) -> None:
    cluster.run("scontrol", "requeue", job)


def killed(cluster: Cluster, job: str, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def without_node(cluster: Cluster, job: str, pid: int) -> None:
    cluster.lose("n2")


def without_daemon(cluster: Cluster, job: str, pid: int) -> None:
    cluster.node("deafen", "n4")
    cluster.node("start", "n4")


@dataclass(frozen=True, kw_only=True)
class Case:
    """`by_files` is what our own files tell of the interruption, `by_accounts` what is known where
    there is accounting.
    """

    act: Act
    by_files: str
    by_accounts: str
    node: str = "n3"
    partition: str = "gpu"


CASES = {
    "usr2": Case(act=signalled("USR2"), by_files="preemption", by_accounts="preemption"),
    "term": Case(act=signalled("TERM"), by_files="preemption", by_accounts="requeue"),
    "preempted": Case(
        act=preempted,
        by_files="preemption",
        by_accounts="preemption",
        node="n1",
        partition="preempt",
    ),
    "requeued": Case(act=requeued, by_files="preemption", by_accounts="requeue"),
    "killed": Case(act=killed, by_files="crash", by_accounts="crash"),
    "without_node": Case(
        act=without_node, by_files="node_failure", by_accounts="node_failure", node="n2"
    ),
    "without_daemon": Case(
        act=without_daemon, by_files="node_failure", by_accounts="node_failure", node="n4"
    ),
}
Interrupted = dict[str, Path]


def untouched(folder: Path, *, toys: Path, epochs: int) -> "tuple[Path, subprocess.Popen[str]]":
    """The run in the local queue, and nobody disturbs it."""
    make_study(folder, shards=toys / "shards", epochs=epochs, only="labels")
    return folder, micro.submit(folder, folder / "jobs" / "labels.yaml", jobs=1)


@pytest.fixture(scope="session")
def calm(tmp_path_factory: pytest.TempPathFactory, toys: Path) -> Path:
    folder, process = untouched(tmp_path_factory.mktemp("calm"), toys=toys, epochs=EPOCHS)
    micro.wait_for_success(process, timeout=300)
    return folder


@pytest.fixture(scope="module")
def interrupted(cluster: Cluster, image: Path, shards: Path) -> Interrupted:
    """All cases side by side, each in a folder of its own: submitted, then disturbed one after the
    other.
    """
    folders: Interrupted = {}
    for name, case in CASES.items():
        config = site(image=image, partition=f'"{case.partition}"', constraint=f'"{case.node}"')
        folders[name] = cluster.study(
            name, shards=shards, epochs=EPOCHS, config=config, only="labels"
        )
        cluster.submit(folders[name])
    waiting = dict(CASES)

    def all_disturbed() -> bool:
        caught = {name: stopped(folders[name]) for name in waiting if has_checkpoint(folders[name])}
        for name, pid in caught.items():
            (job,) = cluster.queue(folders[name])
            waiting.pop(name).act(cluster, job, pid)
            go_on(pid)
        return not waiting

    wait_for_jobs(
        all_disturbed,
        timeout=600,
        what=lambda: f"a checkpoint of {', '.join(waiting)}\n{cluster.run('squeue')}",
    )
    return folders


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cluster", BOTH, indirect=True)
def test_it_goes_on_and_ends_with_the_weights_of_the_untouched_run(
    name: str,
    cluster: Cluster,
    interrupted: Interrupted,
    calm: Path,
    request: pytest.FixtureRequest,
) -> None:
    folder, case = interrupted[name], CASES[name]
    cluster.wait_all_done(folder)
    run = RunFolder(folder / "runs" / the_run(folder).run_id)
    done, status = load_json(run.done), load_status(run.status)
    cause = case.by_accounts if WITH in request.node.name else case.by_files
    assert (done["attempts"], done["interruptions"]) == (2, {cause: 1}), describe(folder)
    assert status and status.first_step > 0, "it began anew"
    assert measured(folder) == measured(calm)


def test_a_cancelled_run_keeps_its_progress_and_goes_on_only_when_it_is_submitted_again(
    cluster: Cluster, image: Path, shards: Path, calm: Path
) -> None:
    folder = cluster.study(
        "cancelled", shards=shards, epochs=EPOCHS, config=site(image=image), only="labels"
    )
    cluster.submit(folder)
    wait_for_jobs(
        lambda: has_checkpoint(folder),
        timeout=240,
        what=lambda: f"a checkpoint\n{describe(folder)}",
    )
    pid = stopped(folder)
    assert cluster.kdbatch(folder, "cancel", "--all").startswith("1 job cancelled")
    go_on(pid)
    wait_for_jobs(
        lambda: not cluster.queue(folder), timeout=240, what=lambda: cluster.run("squeue")
    )
    assert the_run(folder).state == "stopped", describe(folder)
    cluster.submit(folder)
    cluster.wait_all_done(folder)
    run = RunFolder(folder / "runs" / the_run(folder).run_id)
    done, status = load_json(run.done), load_status(run.status)
    assert (done["attempts"], done["interruptions"]) == (2, {"asked": 1}), describe(folder)
    assert status and status.first_step > 0, "it began anew"
    assert measured(folder) == measured(calm)


def test_a_run_longer_than_its_time_limit_needs_several_and_ends_with_the_same_weights(
    cluster: Cluster, image: Path, shards: Path, calm: Path, toys: Path, tmp_path: Path
) -> None:
    rows = pl.read_parquet(next((calm / "runs").glob("r*/rows.parquet")))
    seconds = float(rows.filter(pl.col("name") == "train_seconds")["value"].item())
    # longer than the limit by a quarter; the warning comes so early before it that this machine may
    # also be twice as fast by then
    epochs = math.ceil(EPOCHS * 1.25 * LIMIT_SECONDS / seconds)
    folder = cluster.study(
        "limit", shards=shards, epochs=epochs, config=site(image=image, minutes=1), only="labels"
    )
    cluster.submit(folder)
    calm_too, process = untouched(tmp_path, toys=toys, epochs=epochs)
    micro.wait_for_success(process, timeout=600)
    cluster.wait_all_done(folder)
    done = load_json(folder / "runs" / the_run(folder).run_id / "done.json")
    assert (
        set(done["interruptions"]) == {"timeout"}
        and done["attempts"] == 1 + done["interruptions"]["timeout"]
    ), describe(folder)
    assert measured(folder) == measured(calm_too)
