"""Two real processes that share the batches of a map."""

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import LoudNet, noise
from torch import Tensor, distributed, nn
from torch.multiprocessing import spawn  # pyright: ignore[reportPrivateImportUsage]

from kdbatch.run.cka import CkaResult, compute_cka
from kdbatch.vocab.errors import UserError

NUM_PROCESSES = 2


def world() -> tuple[nn.Module, list[Tensor]]:
    """The same network and the same three batches in every process."""
    torch.manual_seed(5)
    return LoudNet(), [noise(20, size_pixels=10) for _ in range(3)]


def work(rank: int, folder: str) -> None:
    """What each process does: a sound map, then one of a batch that the second process alone finds broken."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=NUM_PROCESSES)
    model, batches = world()
    _save(compute_cka(model, None, batches[rank::NUM_PROCESSES], layers="act"), f"{folder}/{rank}.npz")
    batches[1][0, 0, 0, 0, 0] = float("nan")
    try:
        compute_cka(model, None, batches[rank::NUM_PROCESSES], layers="act")
    except UserError as error:
        Path(folder, f"{rank}.txt").write_text(str(error))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two processes have left what they made."""
    folder = tmp_path_factory.mktemp("team")
    spawn(work, args=(str(folder),), nprocs=NUM_PROCESSES)
    return folder


def _save(result: CkaResult, path: str) -> None:
    assert result.drivers is not None and result.drivers.quiet_LL is not None
    np.savez(
        path,
        value=result.value_LM,
        deflated=result.drivers.deflated_LL,
        quiet=result.drivers.quiet_LL,
        share=result.drivers.pc1_share_L,
        mass=result.drivers.pc1_block_mass,
        num_clips=result.num_clips,
    )


def test_two_processes_make_the_map_of_one(shared, tmp_path):
    model, batches = world()
    _save(compute_cka(model, None, batches, layers="act"), str(tmp_path / "alone.npz"))
    with np.load(tmp_path / "alone.npz") as alone:
        assert alone["num_clips"] == 60
        for rank in range(NUM_PROCESSES):
            with np.load(shared / f"{rank}.npz") as found:
                for name in alone.files:
                    np.testing.assert_allclose(found[name], alone[name], rtol=0, atol=1e-12, err_msg=name)


def test_what_one_process_finds_broken_all_refuse(shared):
    said = [(shared / f"{rank}.txt").read_text() for rank in range(NUM_PROCESSES)]
    assert ["layer first gives NaN" in text for text in said] == [True, True]
