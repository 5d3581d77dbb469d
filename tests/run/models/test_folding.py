import copy

import pytest
import torch
from torch import Tensor, nn

from kdbatch.run.models import BACKBONES, VideoBackbone
from kdbatch.run.models.layers.folding import fold_batch_norms


def _with_statistics(backbone: VideoBackbone) -> VideoBackbone:
    """In float64, in evaluation mode, with batch norms that change what they get."""
    generator = torch.Generator().manual_seed(0)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm3d):
            for values in (module.running_mean, module.bias):
                assert values is not None
                values.data.normal_(generator=generator)
            for values in (module.running_var, module.weight):
                assert values is not None
                values.data.uniform_(0.5, 2.0, generator=generator)
    return backbone.double().eval()


def _norms(model: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm3d) for module in model.modules())


def _unit_maps(backbone: VideoBackbone, clip_BCTHW: Tensor) -> list[Tensor]:
    maps: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        maps.append(output.detach())

    hooks = [
        backbone.get_submodule(name).register_forward_hook(keep)
        for name in (*backbone.stem_names, *backbone.unit_names)
    ]
    backbone(clip_BCTHW)
    for hook in hooks:
        hook.remove()
    return maps


@pytest.mark.parametrize("kind", BACKBONES)
def test_every_batch_norm_is_folded_and_every_map_stays(kind: str) -> None:
    torch.manual_seed(0)
    plain = _with_statistics(BACKBONES[kind](width=0.1))
    folded = copy.deepcopy(plain)
    assert fold_batch_norms(folded) == _norms(plain) and _norms(folded) == 0
    assert _norms(plain) > 0 or kind == "swin3d_t"  # which has layer norms
    clip = torch.randn(2, 3, 6, 32, 32, dtype=torch.float64)
    found, expected = _unit_maps(folded, clip), _unit_maps(plain, clip)
    assert len(found) == len(expected) > 4
    for one, other in zip(found, expected, strict=True):
        assert torch.allclose(one, other, rtol=1e-9, atol=1e-11 * float(other.abs().max()))


class _PreActivation(nn.Module):
    """A batch norm whose input is a sum, and one whose input is a convolution's output."""

    def __init__(self) -> None:
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm3d(3), nn.Conv3d(3, 4, 1)
        self.bn2, self.conv2 = nn.BatchNorm3d(4), nn.Conv3d(4, 4, 1)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        return self.conv2(self.bn2(self.conv1(self.bn1(x_BCTHW + 1))))


def test_a_batch_norm_that_follows_no_convolution_stays() -> None:
    torch.manual_seed(0)
    layers = {"block": _PreActivation()}
    plain = _with_statistics(VideoBackbone(layers, stem=("block",), units=(), feature_dim=4))
    folded = copy.deepcopy(plain)
    assert fold_batch_norms(folded) == 1
    assert isinstance(folded.get_submodule("block.bn1"), nn.BatchNorm3d)
    clip = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    assert torch.allclose(folded(clip), plain(clip), rtol=1e-12)


def test_a_network_that_trains_is_not_folded() -> None:
    with pytest.raises(AssertionError):
        fold_batch_norms(BACKBONES["shufflenet_2x"](width=0.05).train())
