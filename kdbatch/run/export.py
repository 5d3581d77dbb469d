"""Exports a finished network as a self-contained folder: weights, config, an example.

    model.safetensors   the weights, byte for byte those of the run
    config.json         backbone, class names in label order, the shape of its input clip, its
                        accuracy on the test split, provenance
    load.py             reads both; predicts the class of a video, or computes its features
    model.ts            the network with its normalisation as TorchScript, if its outputs agree

A teacher or student is a classifier; a pretrained network is a backbone, which computes features.

Axes: B clips, C=3, T frames, H, W; K classes or features.
"""

import dataclasses
import hashlib
import io
import os
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdbatch.base.atomic_write import atomic_write, load_json, make_folder, write_json, write_text
from kdbatch.base.command_lines import export_command, shell_line, status_command
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError
from kdbatch.base.parse import parse
from kdbatch.result.read import read_rows
from kdbatch.run.checkpoint import load_weights
from kdbatch.run.data.augment import MEAN, STD
from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.weights import checked_weights, recorded_sha256
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.done import load_done
from kdbatch.vocab.recipes import Distill, Finetune, Pretrain
from kdbatch.vocab.runs import Assignment, RunFolder
from kdbatch.vocab.shards import load_index

TOLERANCE = 1e-4  # the largest difference of outputs between the network and its trace

EXAMPLE = '''"""Predict the class of a video, or compute the features of a pretrained network.

    python load.py VIDEO (needs kdbatch[worker])

Without kdbatch, plain PyTorch computes the same from RGB pixels 0 to 255, as (B, 3, T, H, W):
torch.jit.load("model.ts")(clip). Shapes and classes are in config.json, and torchscript_sha256,
the output of `sha256sum model.ts`: PyTorch itself does not notice a damaged file.
"""

import struct
import sys
from pathlib import Path

import av
import torch
from av.error import FFmpegError
from torch import Tensor

from kdbatch.base.errors import UserError
from kdbatch.base.output.standard_streams import repair_streams
from kdbatch.base.output.visible_text import visible
from kdbatch.run.export import load_exported


PICTURES = {"bmp", "gif", "mjpeg", "png", "tiff", "webp"}


def video_stream(container):
    """The stream of the video; a cover or a preview picture may be the first one."""
    best = container.streams.best("video")
    # AV_DISPOSITION_ATTACHED_PIC and AV_DISPOSITION_TIMED_THUMBNAILS
    streams = [s for s in container.streams.video if not s.disposition.value & 0xC00]
    if not streams:
        raise RuntimeError("it holds no video stream")

    def rank(s):
        codec = s.codec_context
        is_picture = codec is not None and codec.name in PICTURES
        is_other = best is None or s.index != best.index
        return codec is None, s.frames == 1, is_picture, is_other, s.index

    return min(streams, key=rank)


def upright(frame) -> Tensor:
    """The picture as its display matrix (ISO/IEC 14496-12 6.2.2) has it shown, as (H, W, C)."""
    pixel_HWC = torch.from_numpy(frame.to_ndarray(format="rgb24"))
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return pixel_HWC
    a, b, _, c, d = struct.unpack("=5i", bytes(matrix)[:20])
    if abs(a) + abs(d) < abs(b) + abs(c):
        pixel_HWC, a, d = pixel_HWC.transpose(0, 1), c, b
    return pixel_HWC.flip([axis for axis, sign in ((0, d), (1, a)) if sign < 0])


def read_clip(path: str, num_frames: int, size: int) -> Tensor:
    with av.open(str(Path(path).absolute())) as container:
        images = [upright(frame) for frame in container.decode(video_stream(container))]
    frame_THWC = torch.stack(images)
    # One clip over the whole video; training clips are num_frames consecutive frames.
    positions = torch.linspace(0, len(frame_THWC) - 1, num_frames).round().long()
    frame_TCHW = frame_THWC[positions].permute(0, 3, 1, 2).float()
    clip_TCHW = torch.nn.functional.interpolate(frame_TCHW, size=(size, size), mode="bilinear")
    return clip_TCHW.transpose(0, 1)[None]


def main(path: str) -> None:
    model, config = load_exported(Path(__file__).parent)
    clip = config["clip"]
    output_K = model(read_clip(path, clip["num_frames"], clip["size_pixels"]))[0]
    if "classes" not in config:
        print(*(f"{value:.5g}" for value in output_K))
        return
    probability_K = output_K.softmax(0)
    for value, k in zip(*probability_K.topk(min(5, len(probability_K)))):
        print(f"{value:.3f} {visible(config['classes'][k])}")


if __name__ == "__main__":
    repair_streams()
    problem = "name one video: python load.py VIDEO"
    if len(sys.argv) == 2:
        try:
            sys.exit(main(sys.argv[1]))
        except UserError as error:
            problem = str(error)
        except (FFmpegError, OSError, IndexError, RuntimeError, ValueError) as error:
            reason = getattr(error, "strerror", "") or str(error)
            problem = f"{sys.argv[1]}: cannot be read as a video ({reason})"
    print(f"load.py: {visible(problem)}", file=sys.stderr)
    sys.exit(2)
'''


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


def export_run(folder: RunFolder, *, to: Path) -> tuple[Path, ...]:
    """Write the export of a finished network into `to`; return the paths of its files.

    Raises:
        UserError: the run is not done or trains no network, a classifier's index of shards is
        missing, or `to` holds something else.
    """
    assignment = folder.load()
    recipe = assignment.run.recipe
    if not isinstance(recipe, Pretrain | Finetune | Distill):
        raise UserError(
            f"{folder.path}: a {recipe.kind} run trains no network to export. "
            f"Name a pretrain, finetune or distill run: {status_command()}"
        )
    if not folder.is_done():
        raise UserError(f"{folder.path}: is not done yet. See how far it is: {status_command()}")
    config_path = to / "config.json"
    if config_path.exists() and (exported := _load_config(config_path)["run_id"]) != folder.id:
        raise UserError(
            f"{to}: holds the export of {exported}. Choose another folder, or delete that one."
        )
    for name in () if config_path.exists() else ("model.safetensors", "load.py", "model.ts"):
        if os.path.lexists(to / name):
            raise UserError(
                f"{to / name}: is not part of an export, and would be replaced. "
                f"Name another folder: {export_command(folder.id, to='FOLDER')}"
            )
    config = {
        "run_id": folder.id,
        "title": assignment.title,
        **_network_config(assignment),
        "clip": {
            name: getattr(recipe.view, name)
            for name in ("num_frames", "stride_frames", "fps", "size_pixels")
        },
        "input": {
            "pixels": [0, 255],
            "order": "RGB",
            "shape": "BCTHW",
            "mean": list(MEAN),
            "std": list(STD),
        },
        "provenance": _public_facts(load_json(folder.done)),
        "model_sha256": recorded_sha256(folder),
    }
    accuracy = _accuracy(folder)
    trained = checked_weights(folder)
    content = trained.read_bytes()
    network = _load_network(config, trained, where=str(folder.path))
    torchscript = _torchscript(network, config["clip"])
    if torchscript:
        config["torchscript_sha256"] = hashlib.sha256(torchscript).hexdigest()
    make_folder(to, spelling=export_command(folder.id, to="FOLDER"))
    weights = to / "model.safetensors"
    # The first file: by it, an export that was interrupted is known to be one.
    write_json(config_path, config | accuracy)
    atomic_write(weights, lambda part: _write(part, content))
    write_text(to / "load.py", EXAMPLE)
    written = (weights, config_path, to / "load.py")
    if not torchscript:
        return written
    atomic_write(to / "model.ts", lambda part: _write(part, torchscript))
    return (*written, to / "model.ts")


def load_exported(folder: Path) -> tuple[NormalizedNetwork, dict[str, Any]]:
    """Return the exported network, in evaluation mode, and its config.

    Raises:
        UserError: a file is missing or damaged, or the two do not belong together.
    """
    config = _load_config(folder / "config.json")
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
    return _load_network(config, weights, where=where), config


def _public_facts(done: dict[str, Any]) -> dict[str, Any]:
    """The record of a finished run without the names of the machine, and of folders on it, which
    the reason for an unknown commit may have.
    """
    public = {name: value for name, value in done.items() if name != "host"}
    if not re.fullmatch(r"[0-9a-f]{7,64}", str(done.get("git_sha"))):
        public["git_sha"] = "unknown"
    return public


def _network_config(assignment: Assignment) -> dict[str, Any]:
    """The part of the config that a network is built from; without `classes` it is a backbone."""
    recipe = assignment.run.recipe
    assert isinstance(recipe, Pretrain | Finetune | Distill), recipe
    backbone = {"backbone": dataclasses.asdict(recipe.backbone)}
    if isinstance(recipe, Pretrain):
        fields = dataclasses.asdict(recipe)
        return {**backbone, "pretext_task": fields["task"], "data": fields["data"]}
    classes = load_index(Path(assignment.shards_dir), recipe.data.dataset).classes
    return {**backbone, "dropout": recipe.dropout, "classes": list(classes)}


def _load_network(config: dict[str, Any], weights: Path, *, where: str) -> NormalizedNetwork:
    network: nn.Module = build_backbone(
        parse(Backbone, config.get("backbone"), where=f"{where}: backbone")
    )
    if "classes" in config:
        network = Classifier(
            network, num_classes=len(config["classes"]), dropout=config.get("dropout", 0.0)
        )
    load_weights(weights, network)
    return NormalizedNetwork(network.eval().requires_grad_(False)).eval()


def _accuracy(folder: RunFolder) -> dict[str, Any]:
    """`accuracy`, if the run's rows have one: top-1 over test videos in percent, and the split."""
    warnings: list[str] = []
    done = load_done(folder.done, warn=warnings.append)
    found = read_rows(folder.path.parent, [folder.id])
    is_recorded = done is not None and done.files is not None
    if warnings or (found.warnings and (is_recorded or folder.rows.exists())):
        raise UserError([*warnings, *found.warnings][0])
    rows = found.frame.filter(name="top1").to_dicts()
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
def _torchscript(model: NormalizedNetwork, clip: dict[str, Any]) -> bytes:
    """The TorchScript file.

    Empty if the network cannot be traced, or if its trace computes other outputs for another batch
    of clips.
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
            memory = _without_paths(memory)
            traced_BK = torch.jit.load(memory)(second)
    except (RuntimeError, TypeError):
        return b""
    if not torch.allclose(traced_BK, model(second), rtol=TOLERANCE, atol=TOLERANCE):
        return b""
    return memory.getvalue()


def _without_paths(torchscript: io.BytesIO) -> io.BytesIO:
    """The archive without the records that name the files of Python code that was traced."""
    cleaned = io.BytesIO()
    with zipfile.ZipFile(torchscript) as source, zipfile.ZipFile(cleaned, "w") as target:
        for entry in source.infolist():
            if not entry.filename.endswith(".debug_pkl"):
                record = zipfile.ZipInfo(entry.filename)
                target.writestr(record, source.read(entry))
    cleaned.seek(0)
    return cleaned


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
