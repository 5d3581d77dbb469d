"""Video Swin Transformer, tiny: torchvision's network and state dict, without the head.

Liu et al. 2022, arXiv:2106.13230. 27.93 M parameters with 101 classes, 11.36 GMAC for a clip of
3x16x112x112. Its window of 8 x 7 x 7 patches is larger than the last map, 8 x 4 x 4: torchvision
then makes the window as large as the map, and so does this network. Patches are 2 x 4 x 4.

Inside, maps have their channels last: (B, T, H, W, C). Stages and the layers that merge patches
between them alternate in `features`.
"""

from torchvision.models.video.swin_transformer import SwinTransformer3d

from kdbatch.run.models.layers.stochastic_depth import StochasticDepth
from kdbatch.run.models.network import VideoBackbone, scaled_channels

_DEPTHS, _HEADS = (2, 2, 6, 2), (3, 6, 12, 24)
_EMBED_DIM = 96
_DROP_PROBABILITY = 0.1  # of the last block's branches; that of the first is 0


def swin3d_t(*, width: float) -> VideoBackbone:
    """The network with random weights, drawn by torchvision's rule.

    A width other than 1 scales the channels of each head; the number of heads stays. Maps of a
    16x112x112 clip at width 1: 96x8x28x28 (patches), 96x8x28x28, 192x8x14x14, 384x8x7x7, 768x8x4x4.
    """
    network = SwinTransformer3d(
        patch_size=[2, 4, 4],
        embed_dim=scaled_channels(_EMBED_DIM, width, multiple=_HEADS[0]),
        depths=list(_DEPTHS),
        num_heads=list(_HEADS),
        window_size=[8, 7, 7],
        stochastic_depth_prob=_DROP_PROBABILITY,
        num_classes=1,
    )
    units = tuple(
        f"features.{2 * stage}.{i}" for stage, depth in enumerate(_DEPTHS) for i in range(depth)
    )
    for unit in units:
        theirs = network.get_submodule(f"{unit}.stochastic_depth")
        own = StochasticDepth(float(theirs.p))  # pyright: ignore[reportArgumentType]
        network.get_submodule(unit).add_module("stochastic_depth", own)
    layers = {name: network.get_submodule(name) for name in ("patch_embed", "features", "norm")}
    return VideoBackbone(
        layers,
        stem=("patch_embed",),
        units=units,
        attentions=tuple(f"{unit}.attn" for unit in units),
        unrolled="features",
        tokens=("patch_embed", *(f"features.{i}" for i in range(2 * len(_DEPTHS) - 1)), "norm"),
        feature_dim=network.num_features,
    )
