"""Other people's CKA, to compare with: each compares a network with itself on one batch, on a CPU
or GPU as its authors show it.
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
    """PyTorch Model Compare. Its rows stand in the order in which the layers return. It refuses a
    map with a NaN: such a map is all NaN.
    """
    from torch_cka import CKA  # noqa: PLC0415  # pyright: ignore[reportMissingImports] (nobody needs it but this bench)

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
    """Centered-Kernel-Alignment. Its rows stand in the order of the names."""
    from cka import compute_cka  # noqa: PLC0415  # pyright: ignore (as above)

    # where it is not installed, a type checker takes the file beside this one for it
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
    """They draw progress bars and warn of what is meant here; without gradients, which one of them
    would else keep.
    """
    with (
        warnings.catch_warnings(),
        redirect_stderr(io.StringIO()),
        redirect_stdout(io.StringIO()),
        torch.no_grad(),
    ):
        warnings.simplefilter("ignore")
        yield
