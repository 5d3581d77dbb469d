"""Networks on a GPU against the same networks in float64 on a CPU, whatever kernels they take."""

import copy

import pytest
import torch
from support.gpu import backbone_of

from kdbatch.run.compilation.networks import compile_networks
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.models.layers.forms import set_form

KINDS = ("r21d_10", "shufflenet_2x", "r2plus1d_18")


def outcome(
    model: Classifier, clip_BCTHW: torch.Tensor, *, dtype: torch.dtype | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and all gradients of their mean square as one vector; with autocast to `dtype`."""
    model.zero_grad()
    enabled = dtype is not None
    with torch.autocast(clip_BCTHW.device.type, dtype=dtype or torch.bfloat16, enabled=enabled):
        logit_BK = model(clip_BCTHW)
    logit_BK.float().square().mean().backward() if enabled else logit_BK.square().mean().backward()
    gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return logit_BK.detach().double().cpu(), torch.cat(gradients).double().cpu()


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.fixture(params=KINDS)
def pair(request: pytest.FixtureRequest, device: torch.device) -> tuple[Classifier, Classifier]:
    """A network in float64 on a CPU, and the same one in float32 on the device."""
    torch.manual_seed(0)
    kind: str = request.param
    if kind == "r2plus1d_18":
        pytest.importorskip("torchvision")
    model = Classifier(build_backbone(backbone_of(kind, width=0.125)), num_classes=5)
    return copy.deepcopy(model).double().train(), model.to(device).train()


CLIP_BCTHW = torch.randn(4, 3, 8, 32, 32, generator=torch.Generator().manual_seed(1))


def test_a_network_in_float64_is_the_same_on_the_device(
    pair: tuple[Classifier, Classifier], device: torch.device
) -> None:
    exact, _ = pair
    expected = outcome(exact, CLIP_BCTHW.double())
    found = outcome(copy.deepcopy(exact).to(device), CLIP_BCTHW.double().to(device))
    for value, reference in zip(found, expected, strict=True):
        assert relative_error(value, reference) < 1e-9


def test_bfloat16_is_off_by_its_rounding(
    pair: tuple[Classifier, Classifier], device: torch.device
) -> None:
    """The rounding is that of 8 bits; gradients pass all layers, whose rounding adds up, twice.
    Without the statistics of a batch, as those of so few values multiply what is rounded off.
    """
    exact, model = (network.eval() for network in pair)
    expected = outcome(exact, CLIP_BCTHW.double())
    found = outcome(model, CLIP_BCTHW.to(device), dtype=torch.bfloat16)
    assert relative_error(found[0], expected[0]) < 0.1
    if device.type == "cuda":  # no run takes bfloat16 on a CPU, where PyTorch's gradients differ
        assert torch.cosine_similarity(found[1], expected[1], dim=0) > 0.9


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_fast_forms_equal_the_plain_ones(
    pair: tuple[Classifier, Classifier], dtype: torch.dtype, device: torch.device
) -> None:
    exact, model = (network.eval() for network in pair)
    is_exact = dtype == torch.float64
    model, clip_BCTHW = model.to(dtype if is_exact else torch.float32), CLIP_BCTHW.to(device)
    expected = outcome(exact, CLIP_BCTHW.double())
    set_form(model, "fast")
    found = outcome(model, clip_BCTHW.to(model.fc.weight.dtype), dtype=None if is_exact else dtype)
    assert relative_error(found[0], expected[0]) < (1e-9 if is_exact else 0.1)
    if is_exact or device.type == "cuda":
        least = 0.999999 if is_exact else 0.9
        assert torch.cosine_similarity(found[1], expected[1], dim=0) > least


def test_compiled_networks_compute_the_same(
    pair: tuple[Classifier, Classifier], cuda: torch.device
) -> None:
    _, model = pair
    clip_BCTHW = CLIP_BCTHW.to(cuda)
    expected = outcome(copy.deepcopy(model), clip_BCTHW)
    compile_networks([model])
    found = outcome(model, clip_BCTHW)
    for value, reference in zip(found, expected, strict=True):
        assert relative_error(value, reference) < 2e-2  # both may use TF32
