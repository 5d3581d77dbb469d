"""Two real processes that share the batches of a map."""

from typing import Any

import pytest
import torch
from support.networks import LoudNet, noise
from support.processes import in_two_processes
from torch import Tensor, nn

from kdbatch.base.errors import UserError
from kdbatch.run.cka.cka import compute_cka
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup


def world() -> tuple[nn.Module, list[Tensor]]:
    """The same network and the same three batches in every process."""
    torch.manual_seed(5)
    return LoudNet(), [noise(20, size_pixels=10) for _ in range(3)]


def sound_map(group: ProcessGroup) -> dict[str, Tensor]:
    model, batches = world()
    result = compute_cka(
        model, None, batches[group.rank :: group.world_size], layers="act", group=group
    )
    assert (
        result.whole.dominant is not None and result.whole.dominant.without_outliers_LL is not None
    )
    return {
        "value": torch.from_numpy(result.whole.value_LM),
        "deflated": torch.from_numpy(result.whole.dominant.deflated_LL),
        "quiet": torch.from_numpy(result.whole.dominant.without_outliers_LL),
        "share": torch.from_numpy(result.whole.dominant.pc1_share_L),
        "mass": torch.tensor(result.whole.dominant.pc1_block_mass),
        "num_clips": torch.tensor(result.num_clips),
    }


def broken_map(group: ProcessGroup) -> str:
    """The second process alone has the batch with a NaN."""
    model, batches = world()
    batches[1][0, 0, 0, 0, 0] = float("nan")
    try:
        compute_cka(model, None, batches[group.rank :: group.world_size], layers="act", group=group)
    except UserError as error:
        return str(error)
    return "nothing"


def both_maps(group: ProcessGroup) -> list[Any]:
    return [sound_map(group), broken_map(group)]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    folder = tmp_path_factory.mktemp("team")
    return in_two_processes(both_maps, folder)


def test_two_processes_make_the_map_of_one(shared):
    alone = sound_map(SINGLE_PROCESS)
    assert alone["num_clips"] == 60
    for found, _ in shared:
        for name, value in alone.items():
            torch.testing.assert_close(found[name], value, rtol=0, atol=1e-12, msg=name)


def test_what_one_process_finds_broken_all_refuse(shared):
    assert ["layer first gives NaN" in said for _, said in shared] == [True, True]
