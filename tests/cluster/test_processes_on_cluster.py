"""One run on two nodes: a process each, which meet over the network, and end together when one of
them is told to or lost.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from support import micro_study as micro
from support.cluster import (
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

EPOCHS = 4
MANY_EPOCHS = 150  # so many that the first checkpoint is written long before the last step


def warned(cluster: Cluster, job: str) -> None:
    cluster.run("scancel", "--signal=USR2", job)


def without_n2(cluster: Cluster, job: str) -> None:
    cluster.lose("n2")


def without_n3(cluster: Cluster, job: str) -> None:
    cluster.lose("n3")


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a run on two `nodes` is disturbed, and how that is counted."""

    act: Callable[[Cluster, str], None]
    cause: str
    nodes: str


CALM_NODES = "n1|n4"  # where none is lost
CASES = {
    "warned": Case(act=warned, cause="preemption", nodes=CALM_NODES),
    "without_its_second_node": Case(act=without_n2, cause="node_failure", nodes="n1|n2"),
    "without_its_first_node": Case(act=without_n3, cause="node_failure", nodes="n3|n4"),
}


def losses(folder: Path) -> list[float]:
    curves = pl.read_parquet(RunFolder(folder / "runs" / the_run(folder).run_id).curves)
    return curves.filter(pl.col("name") == "loss").sort("step")["value"].to_list()


def test_two_nodes_with_a_process_each_begin_as_one_process_does_and_train_to_the_end(
    cluster: Cluster, image: Path, shards: Path, toys: Path, tmp_path: Path
) -> None:
    folder = cluster.study(
        "two_nodes", shards=shards, epochs=EPOCHS, config=site(image=image, nodes=2), only="labels"
    )
    cluster.submit(folder)
    alone = make_study(tmp_path, shards=toys / "shards", epochs=EPOCHS, only="labels")
    micro.wait_for_success(micro.submit(alone, alone / "jobs" / "labels.yaml", jobs=1))
    cluster.wait_all_done(folder)
    done = load_json(RunFolder(folder / "runs" / the_run(folder).run_id).done)
    assert done["attempts"] == 1, describe(folder)
    assert done["device_hours"] == pytest.approx(2 * done["seconds"] / 3600)
    # Same weights, same clips, same augmentation; then the same update. Later steps only tell how
    # this network of a sixteenth's width
    # multiplies what rounding differs by when a batch of eight is summed in two halves: some
    # hundred times each.
    together, by_itself = losses(folder), losses(alone)
    assert len(together) == len(by_itself) == EPOCHS
    assert together[0] == pytest.approx(by_itself[0], rel=1e-5)
    assert together[1] == pytest.approx(by_itself[1], rel=1e-2)


def disturb(cluster: Cluster, folder: Path, case: Case) -> None:
    wait_for_jobs(
        lambda: has_checkpoint(folder),
        timeout=240,
        what=lambda: f"a checkpoint\n{describe(folder)}",
    )
    pid = stopped(folder)
    (job,) = cluster.queue(folder)
    case.act(cluster, job)
    go_on(pid)


@pytest.fixture(scope="module")
def teams(cluster: Cluster, image: Path, shards: Path) -> dict[str, Path]:
    """By case the folder of a run that was disturbed, and `calm`: the same run, which nobody
    disturbed.
    """
    folders: dict[str, Path] = {}
    for name, nodes in {
        "calm": CALM_NODES,
        **{name: case.nodes for name, case in CASES.items()},
    }.items():
        config = site(image=image, nodes=2, constraint=f'"{nodes}"')
        folders[name] = cluster.study(
            f"team_{name}", shards=shards, epochs=MANY_EPOCHS, config=config, only="labels"
        )
        cluster.submit(folders[name])
    for name, case in CASES.items():
        disturb(cluster, folders[name], case)
    return folders


@pytest.mark.rare  # four minutes
@pytest.mark.parametrize("name", CASES)
def test_a_team_that_is_disturbed_goes_on_and_ends_with_the_weights_of_the_untouched_one(
    name: str, cluster: Cluster, teams: dict[str, Path]
) -> None:
    for folder in (teams[name], teams["calm"]):
        cluster.wait_all_done(folder)
    run = RunFolder(teams[name] / "runs" / the_run(teams[name]).run_id)
    done, status = load_json(run.done), load_status(run.status)
    assert (done["attempts"], done["interruptions"]) == (2, {CASES[name].cause: 1}), describe(
        teams[name]
    )
    assert status and status.first_step > 0, "it began anew"
    assert measured(teams[name]) == measured(teams["calm"])
