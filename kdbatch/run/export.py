"""Exports a finished classifier as a self-contained folder: weights, config, an example.

    model.safetensors   the weights, byte for byte those of the run
    config.json         backbone, class names in label order, the shape of its input clip, its
                        accuracy on the test split, provenance
    load.py             reads both and predicts the class of a video
    model.ts            the network with its normalisation as TorchScript, if its logits agree

Axes: B clips, C=3, T frames, H, W; K classes.
"""

import dataclasses
import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdbatch.base.atomic_write import atomic_write, load_json, make_folder, write_json, write_text
from kdbatch.base.command_lines import status_command
from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.result.read import read_rows
from kdbatch.run.checkpoint import load_weights
from kdbatch.run.data.augment import MEAN, STD
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.weights import checked_weights, load_classifier
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes import Distill, Finetune
from kdbatch.vocab.runs import RunFolder
from kdbatch.vocab.shards import load_index

TOLERANCE = 1e-4  # the largest difference of logits between the network and its trace

EXAMPLE = '''"""Predict the class of a video: python load.py VIDEO (needs kdbatch[worker])."""

import sys
from pathlib import Path

import av
import torch

from kdbatch.run.export import load_exported

model, config = load_exported(Path(__file__).parent)
num, size = config["clip"]["num_frames"], config["clip"]["size_pixels"]
with av.open(sys.argv[1]) as video:
    images = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
frame_THWC = torch.stack([torch.from_numpy(image) for image in images])
# One clip over the whole video; training clips are num consecutive frames.
positions = torch.linspace(0, len(frame_THWC) - 1, num).round().long()
frame_TCHW = frame_THWC[positions].permute(0, 3, 1, 2).float()
clip_TCHW = torch.nn.functional.interpolate(frame_TCHW, size=(size, size), mode="bilinear")
probability_K = model(clip_TCHW.transpose(0, 1)[None]).softmax(1)[0]
for value, k in zip(*probability_K.topk(min(5, len(probability_K)))):
    print(f"{value:.3f} {config['classes'][k]}")
'''


class NormalizedClassifier(nn.Module):
    """A classifier of RGB pixels 0 to 255, as (B, 3, T, H, W); returns logits (B, K)."""

    mean_C111: Tensor
    std_C111: Tensor

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        self.register_buffer("mean_C111", 255 * torch.tensor(MEAN).view(3, 1, 1, 1))
        self.register_buffer("std_C111", 255 * torch.tensor(STD).view(3, 1, 1, 1))

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return self.classifier((clip_BCTHW - self.mean_C111) / self.std_C111)


def export_run(folder: RunFolder, *, to: Path) -> tuple[Path, ...]:
    """Write the export of a finished teacher or student into `to`; return the paths of its files.

    Raises:
        UserError: the run is not done or produces no classifier, its shards' index is missing, or
        `to` holds something else.
    """
    assignment = folder.load()
    recipe = assignment.run.recipe
    if not isinstance(recipe, Finetune | Distill):
        raise UserError(
            f"{folder.path}: a {recipe.kind} run produces no classifier to export. "
            f"Name a finetune or distill run: {status_command()}"
        )
    if not folder.is_done():
        raise UserError(f"{folder.path}: is not done yet. See how far it is: {status_command()}")
    config_path = to / "config.json"
    if config_path.exists() and (exported := _load_config(config_path)["run_id"]) != folder.id:
        raise UserError(
            f"{to}: holds the export of {exported}. Choose another folder, or delete that one."
        )
    make_folder(to)
    classifier = load_classifier(folder)
    classes = load_index(Path(assignment.shards_dir), recipe.data.dataset).classes
    weights = to / "model.safetensors"
    atomic_write(weights, lambda part: _write(part, checked_weights(folder).read_bytes()))
    clip = {
        name: getattr(recipe.view, name)
        for name in ("num_frames", "stride_frames", "fps", "size_pixels")
    }
    config = {
        "run_id": folder.id,
        "title": assignment.title,
        "backbone": dataclasses.asdict(recipe.backbone),
        "dropout": recipe.dropout,
        "classes": list(classes),
        "clip": clip,
        "input": {
            "pixels": [0, 255],
            "order": "RGB",
            "shape": "BCTHW",
            "mean": list(MEAN),
            "std": list(STD),
        },
        "provenance": load_json(folder.done),
    }
    write_json(config_path, config | _accuracy(folder))
    write_text(to / "load.py", EXAMPLE)
    torchscript = _write_torchscript(NormalizedClassifier(classifier).eval(), clip, to / "model.ts")
    return (weights, config_path, to / "load.py", *torchscript)


def load_exported(folder: Path) -> tuple[NormalizedClassifier, dict[str, Any]]:
    """Return the exported network, in evaluation mode, and its config.

    Raises:
        UserError: a file is missing or damaged, or the two do not belong together.
    """
    config = _load_config(folder / "config.json")
    backbone = parse(Backbone, config.get("backbone"), where=f"{folder / 'config.json'}: backbone")
    classifier = Classifier(
        build_backbone(backbone), num_classes=len(config["classes"]), dropout=config["dropout"]
    )
    load_weights(folder / "model.safetensors", classifier)
    return NormalizedClassifier(classifier.eval().requires_grad_(False)), config


def _accuracy(folder: RunFolder) -> dict[str, Any]:
    """`accuracy`, if the run's rows have one: top-1 over test videos in percent, and the split."""
    rows = read_rows(folder.path.parent, [folder.id]).frame.filter(name="top1").to_dicts()
    if not rows:
        return {}
    return {"accuracy": {"top1_percent": rows[-1]["value"], "subset": rows[-1]["subset"]}}


def _load_config(path: Path) -> dict[str, Any]:
    config = load_json(path)
    if not isinstance(config, dict) or not isinstance(config.get("run_id"), str):
        raise UserError(
            f"{path}: is not the config of an export. Choose another folder: --to FOLDER"
        )
    return config


@torch.no_grad()
def _write_torchscript(
    model: NormalizedClassifier, clip: dict[str, Any], path: Path
) -> tuple[Path, ...]:
    """Write the TorchScript file and return its path.

    Nothing is written if the network cannot be traced, or if its trace computes other logits for
    another batch of clips.
    """
    shape = (3, clip["num_frames"], clip["size_pixels"], clip["size_pixels"])
    generator = torch.Generator().manual_seed(0)
    first, second = (255 * torch.rand(n, *shape, generator=generator) for n in (1, 3))
    try:
        with warnings.catch_warnings():
            # Tracing is deprecated, but C++ and older Pythons can read its format.
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(model, first, check_trace=False)
            memory = io.BytesIO()
            torch.jit.save(traced, memory)
            memory.seek(0)
            traced_BK = torch.jit.load(memory)(second)
    except (RuntimeError, TypeError):
        return ()
    if not torch.allclose(traced_BK, model(second), rtol=TOLERANCE, atol=TOLERANCE):
        return ()
    atomic_write(path, lambda part: _write(part, memory.getvalue()))
    return (path,)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
