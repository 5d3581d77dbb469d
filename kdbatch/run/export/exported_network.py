"""The network of an export, as `load.py` and any other program reads it.

Axes: B clips, C=3, T frames, H, W; K classes or features.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdbatch.base.atomic_write import load_json
from kdbatch.base.command_lines import export_command, shell_line
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.base.reading.documents import WRITE_AGAIN
from kdbatch.run.checkpoint import load_weights
from kdbatch.run.data.augment import MEAN, STD
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.vocab.backbones import Backbone


class NormalizedNetwork(nn.Module):
    """A network on RGB pixels 0 to 255, as (B, 3, T, H, W); returns logits or features (B, K)."""

    mean_C111: Tensor
    std_C111: Tensor

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean_C111", 255 * torch.tensor(MEAN).view(3, 1, 1, 1))
        self.register_buffer("std_C111", 255 * torch.tensor(STD).view(3, 1, 1, 1))

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return self.network((clip_BCTHW - self.mean_C111) / self.std_C111)


def load_exported(folder: Path) -> tuple[NormalizedNetwork, dict[str, Any]]:
    """Return the exported network, in evaluation mode, and its config.

    Raises:
        UserError: a file is missing or damaged, or the two do not belong together.
    """
    config = load_export_config(folder / "config.json")
    where, weights = str(folder / "config.json"), folder / "model.safetensors"
    # Exports of version 0.2 and older have neither hash. Plain PyTorch reads the TorchScript, and
    # compares nothing.
    for path, name, key in (
        (weights, "weights", "model_sha256"),
        (folder / "model.ts", "TorchScript", "torchscript_sha256"),
    ):
        if (sha256 := config.get(key)) and path.exists() and sha256_of(path) != sha256:
            again = export_command(config["run_id"], to=folder)
            raise UserError(
                f"{path}: cannot be read as {name} (its sha256 is another). "
                f"Export it again: {shell_line('rm', '-r', folder)} && {again}"
            )
    return build_exported(config, weights, where=where), config


def build_exported(config: dict[str, Any], weights: Path, *, where: str) -> NormalizedNetwork:
    """The network that an export's config describes, with these weights, in evaluation mode.

    Raises:
        UserError: the config at `where` describes no network, or the weights are not its own.
    """
    network: nn.Module = build_backbone(
        parse(Backbone, config.get("backbone"), where=f"{where}: backbone")
    )
    if "classes" in config:
        network = Classifier(
            network, num_classes=len(config["classes"]), dropout=config.get("dropout", 0.0)
        )
    load_weights(weights, network)
    return NormalizedNetwork(network.eval().requires_grad_(False)).eval()


def load_export_config(path: Path, *, advice: object = WRITE_AGAIN) -> dict[str, Any]:
    """The config of an export. `advice` is what to do about a file that is no JSON.

    Raises:
        UserError: the file is missing or damaged, or is the config of something else.
    """
    config = load_json(path, advice=advice)
    if not isinstance(config, dict) or not isinstance(config.get("run_id"), str):
        raise UserError(
            f"{path}: is not the config of an export. Choose another folder: --to FOLDER"
        )
    return config
