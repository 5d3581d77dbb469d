"""Reads the tensors of a file from elsewhere, without executing anything that it holds."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kdbatch.base.errors import UserError

ZIP_MAGIC = b"PK"  # of the files that torch.save writes


def read_tensors(path: Path, *, where: str) -> dict[str, Tensor]:
    """The tensors of a file by name, on the CPU; names of nested mappings are joined by dots.

    Other values, such as an epoch's number, are left out.

    Raises:
        UserError: the file is neither safetensors nor tensors of torch.save; it starts with
            `where`.
    """
    try:
        with path.open("rb") as file:
            is_zip = file.read(2) == ZIP_MAGIC
        load = _load_pickle if is_zip else load_file
        raw: Any = load(path)
    except (
        OSError,
        SafetensorError,
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        LookupError,
    ) as error:
        raise UserError(
            f"{where}: is neither safetensors nor tensors alone that torch.save wrote "
            f"({type(error).__name__}). Where it can be read, write its state_dict() again with "
            "safetensors.torch.save_file, or with torch.save."
        ) from error
    return dict(_flat(raw, ""))


def _load_pickle(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _flat(raw: Any, prefix: str) -> list[tuple[str, Tensor]]:
    if isinstance(raw, Tensor):
        return [(prefix.removesuffix("."), raw)]
    if not isinstance(raw, Mapping):
        return []
    return [item for key, value in raw.items() for item in _flat(value, f"{prefix}{key}.")]
