"""Checkpoints and weights: written atomically, read without executing anything."""

import hashlib
import io
import pickle
import re
from pathlib import Path
from typing import IO, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from kdbatch.base.atomic_write import atomic_write
from kdbatch.base.command_lines import remove_and_resume
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.base.errors import UserError
from kdbatch.base.reading.regular_files import read_regular
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup

# The last line of a checkpoint, after the file as torch wrote it. The state says that the line is
# there, so that a checkpoint without it is not taken for one of version 0.2 or older.
_SEAL = re.compile(rb"\nkdbatch sha256 ([0-9a-f]{64})\n")
_SEAL_BYTES = len("\nkdbatch sha256 \n") + 64
_IS_SEALED = "is_sealed"


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Store tensors and plain values, and the sha256 of all that."""
    atomic_write(path, lambda part: _save(state | {_IS_SEALED: True}, part))


def _save(state: dict[str, Any], part: Path) -> None:
    # Through a file of Python's: torch's own writer loses the reason why it cannot write.
    with part.open("wb") as file:
        hashed = _HashedFile(file)
        torch.save(state, cast("IO[bytes]", hashed))
        file.write(f"\nkdbatch sha256 {hashed.sha256.hexdigest()}\n".encode())


class _HashedFile:
    """A file to write to, and the sha256 of what was written. torch never seeks in it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.sha256 = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def load_checkpoint(path: Path, *, group: ProcessGroup = SINGLE_PROCESS) -> dict[str, Any] | None:
    """Return the stored state on every rank, or None if there is no checkpoint yet.

    Only rank 0 reads the file, because a shared file system may show other nodes an older one.

    Raises:
        UserError: the file is not what was written, or holds more than tensors and plain values.
    """
    data = group.broadcast_bytes(read_regular(path) if group.is_rank0 and path.exists() else None)
    if data is None:
        return None
    seal = _SEAL.fullmatch(data[-_SEAL_BYTES:])
    try:
        if seal and hashlib.sha256(memoryview(data)[:-_SEAL_BYTES]).hexdigest().encode() != seal[1]:
            raise ValueError("its sha256 is another than the one that it ends with")
        # torch ignores what follows its file.
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        if state.pop(_IS_SEALED, False) and not seal:
            raise ValueError("the sha256 at its end is missing")
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        OSError,
        LookupError,
        AttributeError,
        TypeError,
    ) as error:
        reason = str(error) if type(error) is ValueError else type(error).__name__
        raise UserError(
            f"{path}: cannot be read as a checkpoint ({reason}). Start this run from the "
            f"beginning: {remove_and_resume(path)}"
        ) from error
    return state


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
        module.load_state_dict(read_weights(path), strict=True)
    except RuntimeError as error:
        raise UserError(
            f"{path}: these weights belong to another network ({str(error).splitlines()[0]}). "
            f"Make them again: {remove_and_resume(path.parent)}"
        ) from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a run's weights, by name.

    Raises:
        UserError: the file is missing or damaged.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"{path}: cannot be read as weights ({error}). "
            f"Make them again: {remove_and_resume(path.parent)}"
        ) from error
