"""The facts that `kdbatch plan` needs, where torch may be missing: so `load` imports late."""

from typing import Any

from kdbatch.vocab.backbones import BackboneSpec
from kdbatch.vocab.distillation.losses import LossSpec


def _load_tiny3d() -> Any:
    from kdbatch_example.network import tiny3d  # noqa: PLC0415 (it imports torch)

    return tiny3d


def _load_logit_mse() -> Any:
    from kdbatch_example.losses import logit_mse  # noqa: PLC0415 (it imports torch)

    return logit_mse


TINY3D = BackboneSpec(
    title="Tiny3D",
    gmac_per_clip=0.65,  # of a clip of 3x16x112x112; `kdbatch doctor` counts it
    layers=("conv1", "conv2", "conv3"),  # whose maps a feature loss may name
    load=_load_tiny3d,
)
LOGIT_MSE = LossSpec(terms=(1.0,), least_classes=2, load=_load_logit_mse)
