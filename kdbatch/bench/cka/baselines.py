"""Other CKA libraries as baselines, called as their documentation shows.

Each compares a network with itself on one batch, on a CPU or a GPU.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

MODULES = {"torch_cka": "torch_cka", "pytorch_cka": "cka"}


def is_installed(title: str) -> bool:
    return find_spec(MODULES[title]) is not None


def torch_cka(model: nn.Module, clip_BCTHW: Tensor, layers: tuple[str, ...]) -> np.ndarray:
    """PyTorch Model Compare. Its rows have the order in which the layers return.

    It fails on a map with a NaN; the result is then all NaN.
    """
    # Imported here: only this bench needs it.
    from torch_cka import CKA  # noqa: PLC0415  # pyright: ignore[reportMissingImports]

    with _quiet():
        tool = CKA(
            model,
            model,
            model1_layers=list(layers),
            model2_layers=list(layers),
            device=str(clip_BCTHW.device),
        )
        try:
            tool.compare(_loader(clip_BCTHW))
        except AssertionError:
            return np.full((len(layers), len(layers)), np.nan)
        return tool.export()["CKA"].double().cpu().numpy()


def pytorch_cka(model: nn.Module, clip_BCTHW: Tensor, layers: tuple[str, ...]) -> np.ndarray:
    """Centered-Kernel-Alignment. Its rows have the order of the names."""
    from cka import compute_cka  # noqa: PLC0415  # pyright: ignore (as above)

    # Any, as a type checker may resolve `cka` to another module where it is not installed.
    compute: Any = compute_cka
    with _quiet():
        (value_LL,) = compute(
            model,
            model,
            _loader(clip_BCTHW),
            layers=list(layers),
            device=clip_BCTHW.device,
            progress=False,
        )
    return value_LL.double().cpu().numpy()


BASELINES = {"torch_cka": torch_cka, "pytorch_cka": pytorch_cka}


def _loader(clip_BCTHW: Tensor) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(clip_BCTHW), batch_size=len(clip_BCTHW))


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide progress bars and warnings, and disable gradients, which one of the tools would keep."""
    with (
        warnings.catch_warnings(),
        redirect_stderr(io.StringIO()),
        redirect_stdout(io.StringIO()),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        yield
