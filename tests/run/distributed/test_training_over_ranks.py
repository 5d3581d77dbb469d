"""`python -m kdbatch.run RUN_DIR`, twice at once, as torchrun or srun start it."""

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from support import targets as target
from support.wait import wait_until

from kdbatch.base.atomic_write import load_json
from kdbatch.result.read import read_curves, read_predictions, read_rows
from kdbatch.run.heartbeat import StopSignal
from kdbatch.run.main import main
from kdbatch.vocab.attempts.exit_rules import EXIT_BUG, EXIT_DONE, EXIT_STOPPED, EXIT_USER
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.status import Status, load_status

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("team")]
Two = tuple[subprocess.Popen[bytes], subprocess.Popen[bytes]]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    target.write_world(folder)
    return folder


@pytest.fixture(scope="module")
def labels_only(world: Path) -> Run:
    """A student without teachers: dropout, batch normalisation, a held-out part, a test split."""
    return next(
        r.run
        for r in target.plan_of(world).runs
        if isinstance(r.run.recipe, Distill) and not r.run.parents
    )


@pytest.fixture(scope="module")
def student(world: Path) -> Run:
    """A student of two teachers, who are trained already: in `one`, and the same in `two`."""
    runs = {item.run.id: item.run for item in target.plan_of(world).runs}
    student = next(
        run for run in runs.values() if isinstance(run.recipe, Distill) and len(run.parents) == 2
    )
    for teacher in (runs[parent] for parent in student.parents):
        for run in (*(runs[parent] for parent in teacher.parents), teacher):
            assert (
                main([str(target.prepare(world, run, runs="one").path)], stop=StopSignal())
                == EXIT_DONE
            )
    shutil.copytree(world / "one", world / "two", dirs_exist_ok=True)
    return student


def _start(folder: RunFolder, *, cwds: tuple[Path | None, Path | None] = (None, None)) -> Two:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        port = door.getsockname()[1]
    place: dict[str, str] = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    command = [sys.executable, "-m", "kdbatch.run", str(folder.path)]
    with folder.log.open("ab") as log:
        first, second = (
            subprocess.Popen(
                command,
                env={**os.environ, **place, "RANK": r, "LOCAL_RANK": r},
                stdout=log,
                stderr=log,
                cwd=cwd,
            )
            for r, cwd in zip("01", cwds, strict=True)
        )
    return first, second


def _codes(two: Two, *, timeout: float = 120) -> list[int]:
    return [process.wait(timeout) for process in two]


def _once(folder: RunFolder, two: Two, *, is_so: Callable[[Status], bool]) -> None:
    def reached() -> bool:
        status = load_status(folder.status)
        if status and is_so(status):
            return True
        assert all(process.poll() is None for process in two), folder.log.read_text()
        return False

    wait_until(reached, timeout=120, what=folder.status.read_text)


def _long(run: Run, *, epochs: int) -> Run:
    assert isinstance(run.recipe, Distill)
    return target.with_recipe(
        run, schedule=dataclasses.replace(run.recipe.schedule, epochs=epochs), selection=None
    )


def _results(folder: RunFolder) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, Any]]:
    predictions = read_predictions(folder.path.parent, [folder.id]).frame
    rows = {
        row["name"]: row["value"]
        for row in read_rows(folder.path.parent, [folder.id]).frame.to_dicts()
    }
    return (
        load_file(folder.model),
        np.array(predictions.sort("key")["probability_K"].to_list()),
        rows,
    )


def _distance(weights: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> float:
    """The change of all weights, as a share of their norm."""
    first, second = (
        np.concatenate([w[name].ravel() for name in others if "running" not in name])
        for w in (weights, others)
    )
    return float(np.linalg.norm(first - second) / np.linalg.norm(second))


def test_two_processes_leave_what_one_leaves(world: Path, labels_only: Run) -> None:
    """One step, on all twelve videos that are left to train on, six for each process. This network
    is so narrow that some channels hardly vary: in one process too, taking a batch's clips in
    another order moves its weights by 5e-6 in the first step, 8e-3 in the second.
    """
    recipe = labels_only.recipe
    assert isinstance(recipe, Distill) and recipe.selection is not None
    selection = dataclasses.replace(recipe.selection, share=0.25)
    schedule = dataclasses.replace(recipe.schedule, epochs=1, batch_clips=12)
    run = target.with_recipe(labels_only, selection=selection, schedule=schedule)
    one, two = (target.prepare(world, run, runs=name) for name in ("one", "two"))
    assert main([str(one.path)], stop=StopSignal()) == EXIT_DONE
    assert _codes(_start(two)) == [EXIT_DONE, EXIT_DONE], two.log.read_text()
    assert sorted(p.name for p in two.path.iterdir() if p.name != "log.txt") == sorted(
        p.name for p in one.path.iterdir()
    )
    assert load_json(two.done)["device_hours"] == pytest.approx(
        2 * load_json(two.done)["seconds"] / 3600, rel=0.01
    )
    (weights, probability_NK, rows), (expected, expected_NK, expected_rows) = (
        _results(two),
        _results(one),
    )
    assert 0 < _distance(weights, expected) < 1e-4
    assert np.allclose(probability_NK, expected_NK, atol=1e-2)
    assert (
        rows.keys() == expected_rows.keys() and rows["test_videos"] == expected_rows["test_videos"]
    )
    assert {"idle_share", "max_memory"} <= rows.keys() and rows["held_out_videos"] == 4


def test_two_processes_learn_from_remembered_teachers_what_one_learns(
    world: Path, student: Run
) -> None:
    """Two epochs of one step. In the second the teachers' answers come from the file; its rate is
    nearly 0, so that its losses are those of networks that are nearly the same.
    """
    assert isinstance(student.recipe, Distill)
    still = {"warmup_epochs": 0.0, "decay": "steps", "milestones": (0.5,), "decay_factor": 1e-6}
    schedule = target.changed(student.recipe.schedule, epochs=2, batch_clips=16, **still)
    run = target.with_recipe(
        student,
        schedule=schedule,
        selection=None,
        teacher_views=1,
        weighting="ae-kd",
        max_teacher_weight=0.9,
    )
    one, two = (target.prepare(world, run, runs=name) for name in ("one", "two"))
    assert main([str(one.path)], stop=StopSignal()) == EXIT_DONE
    assert _codes(_start(two)) == [EXIT_DONE, EXIT_DONE], two.log.read_text()
    assert 0 < _distance(_results(two)[0], _results(one)[0]) < 1e-4
    found, expected = (
        read_curves(folder.path.parent, [folder.id]).frame.sort("step", "name")
        for folder in (two, one)
    )
    for name in ("soft", "hard", "teacher_weight_0"):
        curve, other = (frame.filter(name=name)["value"].to_list() for frame in (found, expected))
        assert len(curve) == 2 and curve == pytest.approx(other, rel=1e-2)
    assert not two.teacher_outputs.exists()


def test_a_signal_to_the_other_stops_both_and_one_alone_can_go_on(
    world: Path, labels_only: Run
) -> None:
    """A checkpoint does not know how many wrote it."""
    run = _long(labels_only, epochs=40)
    folder = target.prepare(world, run, runs="stopped")
    two = _start(folder)
    _once(folder, two, is_so=lambda status: status.step > 2)
    two[1].send_signal(signal.SIGUSR2)
    assert _codes(two) == [EXIT_STOPPED, EXIT_STOPPED], folder.log.read_text()
    status = load_status(folder.status)
    assert status is not None and status.state == "stopped" and folder.checkpoint.exists()
    assert main([str(folder.path)], stop=StopSignal()) == EXIT_DONE
    done = load_status(folder.status)
    assert done is not None and done.step == done.num_steps > status.step


def test_a_process_that_is_killed_ends_the_others_and_the_run_can_go_on(
    world: Path, labels_only: Run
) -> None:
    folder = target.prepare(world, _long(labels_only, epochs=400), runs="killed")
    two = _start(folder)
    _once(folder, two, is_so=lambda status: status.step > 2)
    two[1].kill()
    assert _codes(two) == [EXIT_STOPPED, -signal.SIGKILL], folder.log.read_text()
    status = load_status(folder.status)
    assert status is not None and (status.state, status.reason) == (
        "stopped",
        "one of its 2 processes was lost; it can go on from its last checkpoint",
    )


@pytest.mark.rare
def test_a_leader_that_is_killed_ends_the_others(world: Path, labels_only: Run) -> None:
    folder = target.prepare(world, _long(labels_only, epochs=400), runs="headless")
    two = _start(folder)
    _once(folder, two, is_so=lambda status: status.step > 2)
    two[0].kill()
    assert _codes(two) == [-signal.SIGKILL, EXIT_BUG], folder.log.read_text()


def test_a_slip_that_only_the_other_makes_is_told_in_the_status(
    world: Path, labels_only: Run, tmp_path: Path
) -> None:
    folder = target.prepare(world, labels_only, runs="slip")
    folder.save(
        dataclasses.replace(folder.load(), shards_dir="shards")
    )  # which is there for who was started in `world`
    assert _codes(_start(folder, cwds=(world, tmp_path))) == [EXIT_USER, EXIT_USER], (
        folder.log.read_text()
    )
    status = load_status(folder.status)
    assert status is not None and status.state == "failed"
    assert status.reason.startswith("process 1 of 2: ucf101 has no shards under shards/")
