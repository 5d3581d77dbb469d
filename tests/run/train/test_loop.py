"""The loop itself, on a network of a few weights: stopped and resumed anywhere, it is the run that
was never stopped.
"""

from pathlib import Path

import pytest
import torch
from support.training import TOTAL, deterministic_curves, run

from kdbatch.base.errors import UserError
from kdbatch.run.heartbeat import Stopped
from kdbatch.vocab.status import load_status


def test_stopped_at_any_step_and_resumed_it_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    state, trained = run(tmp_path / "whole")
    assert {m.name for m in trained.curves} == {
        "loss",
        "accuracy",
        "gradient_norm",
        "lr",
        "data_wait_share",
    } and len(trained.curves) == 15
    for stop_at in range(1, TOTAL + 1):
        folder = tmp_path / str(stop_at)
        with pytest.raises(Stopped):
            run(folder, stop_at=stop_at)
        status = load_status(folder / "status.json")
        assert status is not None and status.attempt == 1
        resumed, again = run(folder)
        assert all(torch.equal(value, state[name]) for name, value in resumed.items())
        assert deterministic_curves(again) == deterministic_curves(trained)


def test_who_looks_at_every_epoch_changes_nothing_and_forgets_nothing(tmp_path: Path) -> None:
    state, _ = run(tmp_path / "alone")
    _, whole = run(tmp_path / "whole", watched=True)
    for stop_at in (2, 3, 7):
        with pytest.raises(Stopped):
            run(tmp_path / str(stop_at), stop_at=stop_at, watched=True)
        resumed, again = run(tmp_path / str(stop_at), watched=True)
        assert all(torch.equal(value, state[name]) for name, value in resumed.items())
        assert (
            deterministic_curves(again) == deterministic_curves(whole)
            and sum(m.name == "best" for m in again.curves) == 3
        )


def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="step 4: the loss is nan"):
        run(tmp_path, poison_at=4)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", b"x" * 1000])
def test_a_damaged_checkpoint_is_one_line(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(damage)
    with pytest.raises(
        UserError,
        match=r"checkpoint\.pt: cannot be read as a checkpoint .*Delete it to start this run anew",
    ):
        run(tmp_path)


def test_a_checkpoint_of_another_network_is_one_line(tmp_path: Path) -> None:
    torch.save({"model": {}, "optimizer": {}, "state": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="belongs to another version of this run"):
        run(tmp_path)
