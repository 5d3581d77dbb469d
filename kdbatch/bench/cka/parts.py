"""What a CKA map is made of, each part alone, and the map as its definition reads. Models are in
evaluation mode.

Axes: n clips, p columns, L layers.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from kdbatch.base.errors import UserError
from kdbatch.run.cka.gram_hooks import KIND_OF, Hook, LayerCapture, Layers, as_rows, exact_products

Result = TypeVar("Result")
PART_CHUNK_COLUMNS = 1 << 16


class Replay(nn.Module):
    """A stand-in for a network: its layers hand over maps that were computed before, one after the
    other.
    """

    def __init__(self, maps: Sequence[Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_FixedOutput(found) for found in maps)
        self.names = tuple(f"layers.{i}" for i in range(len(maps)))

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        for layer in self.layers:
            clip_BCTHW = layer(clip_BCTHW)
        return clip_BCTHW


class _FixedOutput(nn.Module):
    def __init__(self, found: Tensor) -> None:
        super().__init__()
        self.found = found

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return self.found


def choose_layers(model: nn.Module, clip_BCTHW: Tensor, *, num_layers: int) -> tuple[str, ...]:
    """Names of so many convolutions, batch norms and ReLUs, evenly spread over those that run once,
    in the order in which they return.

    Once: other tools keep one map of a module, whatever number of times it is called.

    Raises:
        UserError: the network has fewer.
    """
    names = [
        name
        for name, module in model.named_modules()
        if KIND_OF.get(type(module)) in ("conv", "bn", "relu")
    ]
    called: list[str] = []
    with _hooked(model, tuple(names), lambda name, output: called.append(name)), torch.no_grad():
        model(clip_BCTHW[:1])
    count = Counter(called)
    once = [name for name in called if count[name] == 1]
    if num_layers > len(once):
        raise UserError(
            f"--layers: {num_layers} are more than the {len(once)} that run once. Write --layers={len(once)}, or less."
        )
    return tuple(once[round(i * (len(once) - 1) / (num_layers - 1))] for i in range(num_layers))


def capture_maps(model: nn.Module, clip_BCTHW: Tensor, layers: tuple[str, ...]) -> list[Tensor]:
    maps: list[Tensor] = []
    with _hooked(model, layers, lambda name, output: maps.append(output.clone())), torch.no_grad():
        model(clip_BCTHW)
    return maps


def forward_seconds(model: nn.Module, clip_BCTHW: Tensor) -> float:
    with torch.no_grad(), exact_products():
        return time_call(lambda: model(clip_BCTHW), clip_BCTHW.device)[0]


def product_seconds(model: nn.Module, clip_BCTHW: Tensor, *, layers: Layers) -> float:
    """Of one product X X' per layer and nothing else, each while its map is as warm as it is for
    anybody.
    """
    times: list[float] = []

    def multiply(name: str, output: Tensor) -> None:
        x_np = as_rows(output)
        times.append(time_call(lambda: x_np @ x_np.T, x_np.device)[0])

    names = (
        layers if isinstance(layers, tuple) else LayerCapture(model, layers=layers).captured_names()
    )
    with _hooked(model, names, multiply), torch.no_grad(), exact_products():
        model(clip_BCTHW)
    return sum(times)


def reference_map(model: nn.Module, clip_BCTHW: Tensor, *, layers: Layers) -> np.ndarray:
    """CKA with Song et al. 2012, eq. 5, term by term, from maps in double precision less the mean
    of every column.
    """
    grams: list[np.ndarray] = []

    def multiply(name: str, output: Tensor) -> None:
        gram_nn = torch.zeros(len(output), len(output), dtype=torch.float64, device=output.device)
        for part in as_rows(output).split(PART_CHUNK_COLUMNS, dim=1):
            part = part.double() - part.double().mean(0)
            gram_nn += part @ part.T
        grams.append(gram_nn.fill_diagonal_(0.0).cpu().numpy())

    names = (
        layers if isinstance(layers, tuple) else LayerCapture(model, layers=layers).captured_names()
    )
    with _hooked(model, names, multiply), torch.no_grad(), exact_products():
        model(clip_BCTHW)
    hsic_LL = np.array([[_three_terms(k, m) for m in grams] for k in grams])
    return hsic_LL / np.sqrt(np.outer(hsic_LL.diagonal(), hsic_LL.diagonal()))


def time_call(work: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    """What the work took and what it gave: wall time to its end on a GPU, processor time on a CPU.

    Everything here runs in one thread of this process, whose processor time is wall time where
    nobody else wants the core.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    _synchronize(device)
    began = clock()
    found = work()
    _synchronize(device)
    return clock() - began, found


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _three_terms(k_nn: np.ndarray, l_nn: np.ndarray) -> float:
    """HSIC_1 of Grams without diagonals, times n (n - 3)."""
    n = len(k_nn)
    row_k, row_l = k_nn.sum(0), l_nn.sum(0)
    return float(
        (k_nn * l_nn).sum()
        + row_k.sum() * row_l.sum() / ((n - 1) * (n - 2))
        - 2 * (row_k @ row_l) / (n - 2)
    )


@contextmanager
def _hooked(
    model: nn.Module, names: tuple[str, ...], tell: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Tells every output of the named modules while it lasts."""
    with ExitStack() as stack:
        for name in names:
            stack.callback(
                model.get_submodule(name).register_forward_hook(_output_hook(name, tell)).remove
            )
        yield


def _output_hook(name: str, tell: Callable[[str, Tensor], None]) -> Hook:
    return lambda module, args, output: tell(name, output)
