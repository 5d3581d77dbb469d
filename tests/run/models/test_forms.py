"""The fast forms of layers compute what PyTorch's own layers do, and copy no map.

They run on a CPU here, in double precision; on a GPU they are chosen by the device.
"""

import copy
from math import prod

import pytest
import torch
from support.networks import classifier
from torch import Tensor, nn

from kdbatch.run.cka.gram_hooks import LayerCapture
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.distributed.sync_layers import SyncBatchNorm
from kdbatch.run.models import BACKBONES, Classifier
from kdbatch.run.models.layers.folding import fold_batch_norms
from kdbatch.run.models.layers.forms import FAST_DEVICES, TwoForms, set_form

# Widths at which channel counts between convolutions are no multiples of 8.
WIDTHS = {"r21d_10": 0.25, "r2plus1d_18": 0.2, "shufflenet_2x": 0.25}
SHAPES = [(2, 3, 8, 32, 32), (3, 3, 5, 34, 26)]


def both_forms(kind: str) -> tuple[Classifier, Classifier]:
    """The same network twice, in double precision: in its plain and in its fast form."""
    torch.manual_seed(0)
    plain = classifier(kind, width=WIDTHS.get(kind, 0.1), num_classes=5).double()
    fast = copy.deepcopy(plain)
    set_form(plain, "plain")
    set_form(fast, "fast")
    return plain, fast


def clips(shape: tuple[int, ...], *, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def assert_close(found: Tensor, expected: Tensor, *, rtol: float = 1e-9) -> None:
    assert found.shape == expected.shape
    found, expected = found.detach(), expected.detach()
    scale = max(float(expected.abs().max()), 1e-3)  # some gradients are zero but for rounding
    assert float((found - expected).abs().max()) <= rtol * scale


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", BACKBONES)
def test_outputs_gradients_and_statistics_of_both_forms_are_equal(
    kind: str, shape: tuple[int, ...]
) -> None:
    plain, fast = both_forms(kind)
    clip = clips(shape)
    for step in range(2):
        clip = clips(shape, seed=step)
        found, expected = clip.clone().requires_grad_(), clip.clone().requires_grad_()
        outputs = []
        for model, own in ((fast, found), (plain, expected)):
            torch.manual_seed(step)  # stochastic depth leaves the same blocks out
            outputs.append(model(own))
        out, reference = outputs
        assert_close(out, reference)
        for loss in (out, reference):
            loss.square().sum().backward()
        assert found.grad is not None and expected.grad is not None
        assert_close(found.grad, expected.grad, rtol=1e-6)
    for (name, one), other in zip(fast.named_parameters(), plain.parameters(), strict=True):
        assert one.grad is not None and other.grad is not None, name
        assert_close(one.grad, other.grad, rtol=1e-6)
    for name, value in plain.state_dict().items():
        assert_close(fast.state_dict()[name].double(), value.double())
    assert_close(fast.eval()(clip), plain.eval()(clip))


@pytest.mark.parametrize("kind", BACKBONES)
def test_folded_networks_are_equal_in_both_forms(kind: str) -> None:
    plain, fast = both_forms(kind)
    plain.train()(clips(SHAPES[0]))
    fast.load_state_dict(plain.state_dict())
    fold_batch_norms(fast.eval())
    assert_close(fast(clips(SHAPES[1])), plain.eval()(clips(SHAPES[1])))


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_comparison_sees_equal_layers_in_both_forms(kind: str) -> None:
    plain, fast = both_forms(kind)
    grams, names = [], []
    for model in (plain, fast):
        with LayerCapture(model, layers="all") as capture:
            grams.append(capture.grams(clips((5, 3, 4, 24, 24))))
        names.append((capture.layers, capture.kinds))
    assert names[0] == names[1]
    assert torch.allclose(grams[0], grams[1], rtol=1e-4, atol=1e-4 * float(grams[0].abs().max()))


def copied_maps(model: nn.Module, clip: Tensor) -> int:
    """How many maps a step copies, forward and backward; weights here have fewer numbers."""
    model(clip).square().sum().backward()  # the first step allocates gradients
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True
    ) as profile:
        model(clip).square().sum().backward()
    copies = [event for event in profile.events() or () if event.name == "aten::copy_"]
    shapes = [event.input_shapes[0] for event in copies if len(event.input_shapes[0]) > 3]
    return sum(shape[0] % len(clip) == 0 and prod(shape) > 2e4 for shape in shapes)


def test_factorised_convolutions_copy_no_map_but_the_clip() -> None:
    plain, fast = (model.float() for model in both_forms("r21d_10"))
    clip = clips((7, 3, 8, 48, 48)).float()
    assert copied_maps(plain, clip) > 10
    assert copied_maps(fast, clip) == 1


def test_grouped_convolutions_and_pools_copy_fewer_maps_in_their_fast_form() -> None:
    plain, fast = (model.float() for model in both_forms("shufflenet_2x"))
    clip = clips((7, 3, 8, 48, 48)).float()
    assert copied_maps(fast, clip) < copied_maps(plain, clip)


def test_a_batch_norm_over_ranks_leaves_out_channels_that_pad_a_map() -> None:
    norm = SyncBatchNorm(3, eps=1e-5, momentum=0.1, group=SINGLE_PROCESS)
    map_BCTHW = clips((2, 3, 2, 4, 4)).float()
    padded = torch.nn.functional.pad(map_BCTHW, (0, 0, 0, 0, 0, 0, 0, 5))
    assert torch.equal(norm(padded), norm(map_BCTHW))


def test_each_piece_has_a_device_and_none_is_the_cpu() -> None:
    clip = clips((1, 3, 1, 4, 4))
    for piece, devices in FAST_DEVICES.items():
        assert devices <= {"cuda"}
        assert not TwoForms().is_fast(piece, clip)
