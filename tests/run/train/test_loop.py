"""The training loop on a network of a few weights: a resumed run equals an uninterrupted one."""

from pathlib import Path

import pytest
import torch
from support.training import TOTAL, Watcher, deterministic_curves, run

from kdbatch.base.errors import UserError
from kdbatch.result.read import read_curves
from kdbatch.run.checkpoint import load_checkpoint, save_checkpoint
from kdbatch.run.heartbeat import Stopped
from kdbatch.run.train.train_state import TrainState
from kdbatch.vocab.status import load_status


def test_a_run_stopped_at_any_step_and_resumed_ends_bit_for_bit_the_same(tmp_path: Path) -> None:
    state, trained = run(tmp_path / "whole")
    names = {"loss", "accuracy", "gradient_norm", "lr", "idle_share"}
    assert {m.name for m in trained.curves} == names and len(trained.curves) == 15
    for stop_at in range(1, TOTAL + 1):
        folder = tmp_path / str(stop_at)
        with pytest.raises(Stopped):
            run(folder, stop_at=stop_at)
        status = load_status(folder / "status.json")
        assert status is not None and status.attempt == 1
        resumed, again = run(folder)
        assert all(torch.equal(value, state[name]) for name, value in resumed.items())
        assert deterministic_curves(again) == deterministic_curves(trained)


def test_an_epoch_callback_changes_no_weight_and_is_resumed_with_its_state(tmp_path: Path) -> None:
    state, _ = run(tmp_path / "alone")
    _, whole = run(tmp_path / "whole", watched=True)
    for stop_at in (2, 3, 7):
        with pytest.raises(Stopped):
            run(tmp_path / str(stop_at), stop_at=stop_at, watched=True)
        resumed, again = run(tmp_path / str(stop_at), watched=True)
        assert all(torch.equal(value, state[name]) for name, value in resumed.items())
        assert deterministic_curves(again) == deterministic_curves(whole)
        assert sum(m.name == "best" for m in again.curves) == 3


def test_a_loss_that_is_not_finite_ends_the_run_and_is_never_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="step 4: the loss is nan"):
        run(tmp_path, poison_at=4)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 no archive", b"x" * 1000])
def test_a_damaged_checkpoint_is_a_one_line_error(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(damage)
    message = (
        r"checkpoint\.pt: cannot be read as a checkpoint .*Start this run from the beginning: rm "
    )
    with pytest.raises(UserError, match=message):
        run(tmp_path)


def test_no_flipped_bit_of_a_checkpoint_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"weights": torch.arange(40.0), "step": 3})
    raw = path.read_bytes()
    for i in range(0, 8 * len(raw), 29):
        damaged = bytearray(raw)
        damaged[i // 8] ^= 1 << i % 8
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"cannot be read as a checkpoint.*kdbatch resume"):
            load_checkpoint(path)


def test_a_checkpoint_whose_digest_was_cut_off_is_refused_and_an_older_one_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"step": 3})
    path.write_bytes(path.read_bytes().rpartition(b"\nkdbatch sha256")[0])
    with pytest.raises(UserError, match="the sha256 at its end is missing"):
        load_checkpoint(path)
    torch.save({"step": 3}, path)
    assert load_checkpoint(path) == {"step": 3}


def test_a_checkpoint_of_another_network_is_a_one_line_error(tmp_path: Path) -> None:
    torch.save({"model": {}, "optimizer": {}, "state": {}}, tmp_path / "checkpoint.pt")
    with pytest.raises(
        UserError,
        match=r"another version of this run\. .*: rm -r .*checkpoint\.pt && kdbatch resume ",
    ):
        run(tmp_path)


def test_a_checkpoint_of_another_run_is_refused_though_its_network_is_the_same(
    tmp_path: Path,
) -> None:
    with pytest.raises(Stopped):
        run(tmp_path / "r1", stop_at=3)
    (tmp_path / "r2").mkdir()
    (tmp_path / "r1" / "checkpoint.pt").rename(tmp_path / "r2" / "checkpoint.pt")
    with pytest.raises(UserError, match=r"is a checkpoint of the run r1\. .*: rm -r .* && kdb"):
        run(tmp_path / "r2")


def test_a_checkpoint_stores_curves_as_plain_values(tmp_path: Path) -> None:
    state = TrainState(step=3)
    state.add_point("loss", 1.5)
    state.add_point("idle_share", 10.0, unit="percent")
    torch.save(state.to_plain(), tmp_path / "state.pt")
    plain = torch.load(tmp_path / "state.pt", weights_only=True)
    assert plain["curves"] == [["loss", 1.5, "1", 3], ["idle_share", 10.0, "percent", 3]]
    assert TrainState.from_plain(plain) == state


def test_a_run_under_way_has_the_curves_of_its_last_checkpoint_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdbatch.run.train.train_state.MIN_SAVE_SECONDS", 0.0)
    monkeypatch.setattr("kdbatch.run.train.train_state.SAVE_SHARE", 1e9)
    seen: list[list[int]] = []
    on_epoch_end = Watcher.on_epoch_end

    def look(watcher: Watcher, epoch: int) -> dict[str, float]:
        curves = read_curves(tmp_path, ["run"], names=["loss"], finished_only=False)
        assert curves.warnings == ()
        seen.append(curves.frame["step"].to_list())
        return on_epoch_end(watcher, epoch)

    monkeypatch.setattr(Watcher, "on_epoch_end", look)
    run(tmp_path / "run", watched=True)
    assert seen == [[], [3], [3, 6]]


def test_curves_on_disk_have_no_point_that_a_resumed_run_takes_again(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(tmp_path / "run", stop_at=5)
    curves = read_curves(tmp_path, ["run"], names=["loss"], finished_only=False).frame
    checkpoint = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    saved = [
        (step, value) for name, value, _, step in checkpoint["state"]["curves"] if name == "loss"
    ]
    assert curves.select("step", "value").rows() == saved != []
