"""The networks of the study: one file and one line of BACKBONES for each.

The facts that a plan needs about them are in vocab/backbones.py.
"""

from collections.abc import Callable

from kdbatch.base.errors import UserError
from kdbatch.run.models.c3d import c3d
from kdbatch.run.models.mobilenet import mobilenet3d
from kdbatch.run.models.network import Classifier, VideoBackbone
from kdbatch.run.models.r21d import r21d_10
from kdbatch.run.models.shufflenet import shufflenet_2x
from kdbatch.run.models.squeezenet import squeezenet3d
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone

__all__ = ["BACKBONES", "Classifier", "VideoBackbone", "build_backbone"]


def build_backbone(backbone: Backbone) -> VideoBackbone:
    """The network with random weights, which depend on torch's global generator alone.

    Raises:
        UserError: the width is not a finite number above 0.
    """
    build = BACKBONE_SPECS.loaded(backbone.kind, BACKBONES, where="backbone.kind")
    if not 0 < backbone.width < float("inf"):
        raise UserError(
            f"backbone.width: found {backbone.width}. Write a number above 0; 1.0 is the "
            "published network."
        )
    return build(width=backbone.width)


# torchvision takes seconds to import, and only these networks need it.


def _r2plus1d_18(*, width: float) -> VideoBackbone:
    from kdbatch.run.models.r2plus1d import r2plus1d_18  # noqa: PLC0415 (a slow import)

    return r2plus1d_18(width=width)


def _r3d_18(*, width: float) -> VideoBackbone:
    from kdbatch.run.models.r3d import r3d_18  # noqa: PLC0415 (a slow import)

    return r3d_18(width=width)


def _swin3d_t(*, width: float) -> VideoBackbone:
    from kdbatch.run.models.swin3d import swin3d_t  # noqa: PLC0415 (a slow import)

    return swin3d_t(width=width)


BACKBONES: dict[str, Callable[..., VideoBackbone]] = {
    "r21d_10": r21d_10,
    "r2plus1d_18": _r2plus1d_18,
    "shufflenet_2x": shufflenet_2x,
    "r3d_18": _r3d_18,
    "c3d": c3d,
    "mobilenet3d": mobilenet3d,
    "squeezenet3d": squeezenet3d,
    "swin3d_t": _swin3d_t,
}
