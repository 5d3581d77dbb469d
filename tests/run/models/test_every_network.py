"""Every network resumes, distils, is exported, and drops the same blocks on every rank."""

import dataclasses
import io
from pathlib import Path
from typing import Any

import pytest
import torch
from support.networks import DISTILL, classifier, noise
from support.training import SCHEDULE, run
from torch import Tensor

from kdbatch.base.reading.field_facts import field_hints, limits_of
from kdbatch.run.distributed.sync_layers import GlobalBatchDropout, synchronize_layers
from kdbatch.run.export.exported_network import NormalizedNetwork
from kdbatch.run.export.write_export import _torchscript
from kdbatch.run.heartbeat import Stopped
from kdbatch.run.models import BACKBONES
from kdbatch.run.models.layers.folding import fold_batch_norms
from kdbatch.run.models.layers.stochastic_depth import StochasticDepth
from kdbatch.run.train.feature_match import FeatureMatcher, feature_match_step
from kdbatch.vocab.backbones import Backbone

NEW = sorted(BACKBONES.keys() - {"r21d_10", "r2plus1d_18", "shufflenet_2x"})


@pytest.mark.parametrize("kind", NEW)
def test_a_training_is_resumed_bit_for_bit(kind: str, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    optimizer: Any = "adamw" if kind == "swin3d_t" else "sgd"
    schedule = dataclasses.replace(SCHEDULE, optimizer=optimizer, lr=1e-4)

    def net() -> torch.nn.Module:
        return classifier(kind, width=0.0625)

    state, _ = run(tmp_path / "whole", schedule=schedule, net=net)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", schedule=schedule, net=net, stop_at=4)
    resumed, _ = run(tmp_path / "stopped", schedule=schedule, net=net)
    assert resumed.keys() == state.keys()
    assert all(torch.equal(value, state[name]) for name, value in resumed.items())


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_narrowest_network_that_a_profile_may_name_can_be_built(kind: str) -> None:
    least = limits_of(field_hints(Backbone)["width"])
    assert least and least.least
    model = classifier(kind, width=least.least)
    assert model(torch.zeros(2, 3, 8, 32, 32)).isfinite().all()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.parametrize("kind", BACKBONES)
def test_the_torchscript_of_an_export_computes_the_logits(kind: str) -> None:
    torch.manual_seed(0)
    model = NormalizedNetwork(classifier(kind, width=0.0625).requires_grad_(False)).eval()
    content = _torchscript(model, {"num_frames": 8, "size_pixels": 32})
    assert content, "the network could not be traced"
    clip_BCTHW = 255 * torch.rand(3, 3, 8, 32, 32)
    traced = torch.jit.load(io.BytesIO(content))
    torch.testing.assert_close(traced(clip_BCTHW), model(clip_BCTHW), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", NEW)
def test_its_map_is_matched_to_that_of_another_network_in_both_directions(kind: str) -> None:
    recipe = dataclasses.replace(DISTILL, weighting="ca-mkd", feature_weight=50.0)
    label_B, clip_BCTHW = torch.tensor([0, 1, 2]), noise(3, num_frames=8, size_pixels=32)
    for student, teacher in ((kind, "shufflenet_2x"), ("shufflenet_2x", kind)):
        torch.manual_seed(0)
        known = classifier(teacher).eval().requires_grad_(False)
        fold_batch_norms(known)
        matcher = FeatureMatcher(classifier(student), [known], recipe=recipe)
        step = feature_match_step(matcher, [known], clip_BCTHW, label_B, recipe=recipe)
        step.loss.backward()
        assert step.loss.isfinite() and float(step.report["feature"].detach()) >= 0
        assert all(p.grad is not None for p in matcher.parameters())


class _Group:
    """A process group that stands still: only its place counts here."""

    def __init__(self, rank: int) -> None:
        self.rank, self.world_size = rank, 2


def test_ranks_leave_out_the_blocks_that_one_process_leaves_out() -> None:
    map_BTHWC = torch.randn(8, 1, 2, 2, 3)

    def dropped(x: Tensor, rank: int | None) -> Tensor:
        module = torch.nn.Sequential(StochasticDepth(0.5)).train()
        if rank is not None:
            synchronize_layers(module, _Group(rank))  # type: ignore[arg-type]
            assert isinstance(module[0].dropout, GlobalBatchDropout)
        torch.manual_seed(3)
        return module(x)

    whole = dropped(map_BTHWC, None)
    assert 0 < int((whole == 0).flatten(1).all(1).sum()) < 8
    for rank in (0, 1):
        assert torch.equal(dropped(map_BTHWC[rank::2], rank), whole[rank::2])
