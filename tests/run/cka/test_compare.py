"""The stage that compares: from run folders and shards to a map and its numbers, alone and in a
team of two.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from support.clips import VIEW, make_shards
from support.networks import classifier
from torch import nn

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.errors import UserError
from kdbatch.run.checkpoint import save_weights
from kdbatch.run.cka.compare import compare
from kdbatch.run.context import RunContext
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.heartbeat import StatusReporter, Stopped, StopSignal
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.done import StageFacts
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import find_subset

RECIPE_BATCHES = {"num_clips": 15, "batch_clips": 5}  # three batches


@pytest.fixture(scope="module")
def shards_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("compare"))


def assignment_of(
    recipe: Compare | Finetune, shards_dir: Path, parents: tuple[str, ...] = ()
) -> Assignment:
    run = Run(recipe=recipe, seed=3, parents=parents)
    return Assignment(
        run=run, title="x", shards_dir=str(shards_dir), decoder="pyav", resources=Resources()
    )


def trained(runs_dir: Path, shards_dir: Path, *, seed: int, spoilt: bool = False) -> str:
    """A finished run with random weights; its id."""
    subset = find_subset(load_index(shards_dir, "k400"), "train", "all", where="here")
    schedule = Schedule(epochs=1, batch_clips=4, lr=0.1, warmup_epochs=seed / 10)
    backbone = Backbone(kind="r21d_10", width=0.05)
    recipe = Finetune(
        backbone=backbone,
        data=subset,
        view=VIEW,
        schedule=schedule,
        evaluation=Evaluation(test=subset),
    )
    assignment = assignment_of(recipe, shards_dir)
    folder = RunFolder(runs_dir / assignment.run.id)
    folder.path.mkdir(parents=True)
    folder.save(assignment)
    torch.manual_seed(seed)
    model = classifier("r21d_10", num_classes=subset.num_classes)
    if spoilt:
        nn.init.constant_(model.backbone.get_submodule("conv3.block1.bn1").weight, float("inf"))  # pyright: ignore[reportArgumentType]
    write_json(folder.done, {"model_sha256": save_weights(folder.model, model)})
    return folder.id


def prepared(
    runs_dir: Path, shards_dir: Path, parents: tuple[str, ...], batches: dict[str, Any]
) -> RunFolder:
    subset = find_subset(load_index(shards_dir, "k400"), "train", "all", where="here")
    assignment = assignment_of(
        Compare(data=subset, view=VIEW, layers="res", **batches), shards_dir, parents
    )
    folder = RunFolder(runs_dir / assignment.run.id)
    folder.path.mkdir(parents=True)
    folder.save(assignment)
    return folder


def compared(
    folder: RunFolder, *, group: ProcessGroup = SINGLE_PROCESS, stop: StopSignal | None = None
) -> StageFacts:
    """The facts that the stage returns."""
    assignment = folder.load()
    with StatusReporter(folder, device="cpu", stop=stop or StopSignal()) as pulse:
        worker = RunContext(
            folder=folder,
            reporter=pulse,
            device=torch.device("cpu"),
            num_workers=0,
            clip_reader=ClipReader(decoder="pyav"),
            group=group,
        )
        return compare(assignment.run.recipe, assignment, worker)  # pyright: ignore[reportArgumentType]


def written(folder: RunFolder) -> tuple[list[float], dict[str, float]]:
    """The map, row by row, and the numbers."""
    rows = pl.read_parquet(folder.rows)
    return pl.read_parquet(folder.cka)["value"].to_list(), dict(
        zip(rows["name"].to_list(), rows["value"].to_list(), strict=True)
    )


def test_a_self_map_has_block_numbers_and_what_drives_them(tmp_path, shards_dir):
    folder = prepared(
        tmp_path, shards_dir, (trained(tmp_path, shards_dir, seed=1),), RECIPE_BATCHES
    )
    assert compared(folder) == StageFacts(num_clips=15, num_layers=(6, 6))
    values, numbers = written(folder)
    assert {
        "mean_cka",
        "block_index",
        "block_index_z",
        "pc1_drop",
        "loud_drop",
        "pc1_share",
        "pc1_block_mass",
    } <= set(numbers)
    assert values[::7] == [pytest.approx(1.0)] * 6


def test_numbers_have_intervals_over_clips_where_half_a_batch_is_enough(tmp_path, shards_dir):
    folder = prepared(
        tmp_path,
        shards_dir,
        (trained(tmp_path, shards_dir, seed=1),),
        {"num_clips": 16, "batch_clips": 8},
    )
    compared(folder)
    _, numbers = written(folder)
    sure = [name for name in numbers if f"{name}_low" in numbers]
    assert {
        "mean_cka",
        "mean_rsa",
        "block_index",
        "run_90",
        "grid_share",
        "block_share",
        "pc1_drop",
        "pc1_share",
        "pc1_block_mass",
    } <= set(sure)
    assert all(numbers[f"{name}_low"] <= numbers[name] <= numbers[f"{name}_high"] for name in sure)
    assert (
        numbers["mean_cka_low"] < numbers["mean_cka_high"] and "block_index_z" not in sure
    )  # which is a comparison with chance


def test_a_map_of_two_networks_has_no_block_numbers(tmp_path, shards_dir):
    parents = (trained(tmp_path, shards_dir, seed=1), trained(tmp_path, shards_dir, seed=2))
    folder = prepared(tmp_path, shards_dir, parents, {"num_clips": 16, "batch_clips": 8})
    compared(folder)
    values, numbers = written(folder)
    assert set(numbers) == {
        f"{name}{bound}" for name in ("mean_cka", "mean_rsa") for bound in ("", "_low", "_high")
    }
    assert 0 < numbers["mean_rsa"] < 1 and numbers["mean_rsa_low"] < numbers["mean_rsa_high"]
    assert max(values) < 1.0


@pytest.mark.slow
@pytest.mark.xdist_group("team")
def test_two_processes_write_the_map_and_numbers_of_one(tmp_path, shards_dir):
    """Started as torchrun would: polars, which writes, must not be forked."""
    one, two = (
        prepared(
            tmp_path / name,
            shards_dir,
            (trained(tmp_path / name, shards_dir, seed=1),),
            {"num_clips": 16, "batch_clips": 8},
        )
        for name in ("one", "two")
    )
    compared(one)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        place = {
            **os.environ,
            "WORLD_SIZE": "2",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(door.getsockname()[1]),
        }
    command = [sys.executable, "-m", "kdbatch.run", str(two.path)]
    processes = [
        subprocess.Popen(command, env={**place, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"
    ]
    assert [process.wait(120) for process in processes] == [0, 0]
    assert load_json(two.done)["num_clips"] == 16
    for found, expected in zip(written(two), written(one), strict=True):
        assert found == pytest.approx(expected, abs=1e-8)


def test_it_stops_between_two_batches(tmp_path, shards_dir):
    folder = prepared(
        tmp_path, shards_dir, (trained(tmp_path, shards_dir, seed=1),), RECIPE_BATCHES
    )
    stop = StopSignal()
    stop.requested = True
    with pytest.raises(Stopped):
        compared(folder, stop=stop)
    assert not folder.rows.exists()


def test_a_run_that_diverged_is_named(tmp_path, shards_dir):
    parents = (
        trained(tmp_path, shards_dir, seed=1),
        trained(tmp_path, shards_dir, seed=2, spoilt=True),
    )
    with pytest.raises(UserError, match=f"compare: {parents[1]}: layer conv3.block1 gives NaN"):
        compared(prepared(tmp_path, shards_dir, parents, RECIPE_BATCHES))


@pytest.mark.parametrize(
    ("batches", "world_size", "says"),
    [
        ({"batch_clips": 500}, 1, "fill no batch of 500. Lower compare.batch_clips"),
        (
            {"num_clips": 12, "batch_clips": 6},
            3,
            "2 batches of 6 clips are too few for 3 processes.*at most 2 GPUs",
        ),
    ],
)
def test_too_few_videos_are_told_with_what_would_do(
    tmp_path, shards_dir, batches, world_size, says
):
    parents = (trained(tmp_path, shards_dir, seed=1),)
    with pytest.raises(UserError, match=says):
        compared(
            prepared(tmp_path, shards_dir, parents, batches),
            group=ProcessGroup(world_size=world_size),
        )
