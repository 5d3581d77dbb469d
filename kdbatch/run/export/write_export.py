"""Exports a finished network as a self-contained folder: weights, config, an example.

    model.safetensors   the weights, byte for byte those of the run
    config.json         backbone, class names in label order, the shape of its input clip, its
                        accuracy on the test split, provenance
    load.py             reads both; predicts the class of a video, or computes its features
    model.ts            the network with its normalisation as TorchScript, if its outputs agree

A teacher or student is a classifier; a pretrained network is a backbone, which computes features.
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

from kdbatch.base.atomic_write import atomic_write, load_json, make_folder, write_json, write_text
from kdbatch.base.command_lines import export_command, status_command
from kdbatch.base.errors import UserError
from kdbatch.result.read import read_rows
from kdbatch.run.data.augment import MEAN, STD
from kdbatch.run.export.exported_network import (
    NormalizedNetwork,
    build_exported,
    load_export_config,
)
from kdbatch.run.weights import checked_weights, recorded_sha256
from kdbatch.vocab.done import load_done
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.views import View

TOLERANCE = 1e-4  # the largest difference of outputs between the network and its trace

EXAMPLE = Path(__file__).with_name("example.py")


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
    _check_target(to, folder)
    config = {
        "run_id": folder.id,
        "title": assignment.title,
        **_network_config(assignment),
        **_input_config(recipe.view),
        "provenance": _public_facts(load_json(folder.done)),
        "model_sha256": recorded_sha256(folder),
    }
    accuracy = _accuracy(folder)
    trained = checked_weights(folder)
    content = trained.read_bytes()
    network = build_exported(config, trained, where=str(folder.path))
    torchscript = _torchscript(network, config["clip"])
    if torchscript:
        config["torchscript_sha256"] = hashlib.sha256(torchscript).hexdigest()
    make_folder(to, spelling=export_command(folder.id, to="FOLDER"))
    weights, config_path = to / "model.safetensors", to / "config.json"
    # The first file: by it, an export that was interrupted is known to be one.
    write_json(config_path, config | accuracy)
    atomic_write(weights, lambda part: _write(part, content))
    write_text(to / "load.py", EXAMPLE.read_text(encoding="utf-8"))
    written = (weights, config_path, to / "load.py")
    if not torchscript:
        return written
    atomic_write(to / "model.ts", lambda part: _write(part, torchscript))
    return (*written, to / "model.ts")


def _check_target(to: Path, folder: RunFolder) -> None:
    """Check that `to` holds nothing but an earlier export of the same run.

    Raises:
        UserError: it holds something else.
    """
    config_path = to / "config.json"
    if config_path.exists():
        advice = "Choose another folder: --to FOLDER"
        there = load_export_config(config_path, advice=advice)["run_id"]
        if there != folder.id:
            raise UserError(
                f"{to}: holds the export of {there}. Choose another folder, or delete that one."
            )
        return
    for name in ("model.safetensors", "load.py", "model.ts"):
        if os.path.lexists(to / name):
            raise UserError(
                f"{to / name}: is not part of an export, and would be replaced. "
                f"Name another folder: {export_command(folder.id, to='FOLDER')}"
            )


def _input_config(view: View) -> dict[str, Any]:
    """The part of the config that says what clips a network takes."""
    sizes = ("num_frames", "stride_frames", "fps", "size_pixels")
    return {
        "clip": {name: getattr(view, name) for name in sizes},
        "input": {
            "pixels": [0, 255],
            "order": "RGB",
            "shape": "BCTHW",
            "mean": list(MEAN),
            "std": list(STD),
        },
    }


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
