"""Checkpoints and weights: written atomically, read without executing anything."""

import hashlib
import io
import pickle
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from kdbatch.base.atomic_write import atomic_write
from kdbatch.base.command_lines import resume_command
from kdbatch.base.errors import UserError
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Store tensors and plain values."""
    atomic_write(path, lambda part: _save(state, part))


def _save(state: dict[str, Any], part: Path) -> None:
    # Through a file of Python's: torch's own writer loses the reason why it cannot write.
    with part.open("wb") as file:
        torch.save(state, file)


def load_checkpoint(path: Path, *, group: ProcessGroup = SINGLE_PROCESS) -> dict[str, Any] | None:
    """Return the stored state on every rank, or None if there is no checkpoint yet.

    Only rank 0 reads the file, because a shared file system may show other nodes an older one.

    Raises:
        UserError: the file is damaged or holds more than tensors and plain values.
    """
    data = group.broadcast_bytes(path.read_bytes() if group.is_rank0 and path.exists() else None)
    if data is None:
        return None
    try:
        return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read as a checkpoint ({type(error).__name__}). "
            "Delete it to start this run from the beginning."
        ) from error


def save_weights(path: Path, module: nn.Module) -> str:
    """Store a module's state as safetensors. Returns the file's sha256."""
    tensors = {
        name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()
    }
    # Not save_file, which lets no one else read the file, whatever the umask.
    atomic_write(path, lambda part: _write(part, save(tensors)))
    return sha256_of(path)


def _write(part: Path, content: bytes) -> None:
    part.write_bytes(content)


def load_weights(path: Path, module: nn.Module) -> None:
    """Load safetensors into `module`; the names of both must be the same.

    Raises:
        UserError: the file is missing or damaged, or belongs to another network.
    """
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: cannot be read as weights ({error}). "
            f"Delete its run folder, then: {resume_command(retry_failed=True)}"
        ) from error
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise UserError(
            f"{path}: these weights belong to another network ({str(error).splitlines()[0]})."
        ) from error


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
