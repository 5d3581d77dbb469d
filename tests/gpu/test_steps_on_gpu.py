"""Training steps of every task and network on a GPU: finite, and without a wait for the device."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from support.gpu import small_setup, small_video_batches, take_steps

from kdbatch.run.models import BACKBONES
from kdbatch.vocab.tasks import TASKS

STAGES = ("finetune", "distill", *TASKS)


@contextmanager
def errors_of_waits(device: torch.device) -> Iterator[None]:
    """On a GPU, raise where the host would wait for it."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("kind", ["r21d_10", "shufflenet_2x"])
@pytest.mark.parametrize("stage", STAGES)
def test_three_steps_run_without_a_wait_for_the_device(
    stage: str, kind: str, device: torch.device
) -> None:
    """The first step loads libraries and chooses algorithms, for which it may wait."""
    assert kind in BACKBONES
    setup = small_setup(stage, kind, device)
    with small_video_batches(stage, device, num_batches=4) as batches:
        take_steps(setup, batches[:1])
        with errors_of_waits(device):
            numbers = take_steps(setup, batches[1:])
    losses = torch.stack([values["loss"] for values in numbers])
    assert losses.shape == (3,) and torch.isfinite(losses).all()
    assert any((p.grad != 0).any() for p in setup.model.parameters() if p.grad is not None)
