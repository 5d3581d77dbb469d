"""The parts of a CKA map, each measured alone, and a reference map by definition.

Models are in evaluation mode. Axes: n clips, p columns, L layers.
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
from kdbatch.run.cka.gram_hooks import Hook, LayerCapture, Layers, as_rows, exact_products, kind_of

Returned = TypeVar("Returned")
PART_CHUNK_COLUMNS = 1 << 16


class Replay(nn.Module):
    """A substitute for a network, whose layers return maps that were computed before."""

    def __init__(self, maps: Sequence[Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_FixedOutput(output) for output in maps)
        self.names = tuple(f"layers.{i}" for i in range(len(maps)))

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        for layer in self.layers:
            clip_BCTHW = layer(clip_BCTHW)
        return clip_BCTHW


class _FixedOutput(nn.Module):
    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, clip_BCTHW: Tensor) -> Tensor:
        return self.output


def choose_layers(model: nn.Module, clip_BCTHW: Tensor, *, num_layers: int) -> tuple[str, ...]:
    """Names of `num_layers` convolutions, batch norms and ReLUs, in the order in which they return.

    They are spread evenly over those that run once per forward pass: other tools keep one map per
    module, however many times it is called.

    Raises:
        UserError: the network has fewer of them.
    """
    names = [
        name for name, module in model.named_modules() if kind_of(module) in ("conv", "bn", "relu")
    ]
    called: list[str] = []
    with _hooked(model, tuple(names), lambda name, output: called.append(name)), torch.no_grad():
        model(clip_BCTHW[:1])
    count = Counter(called)
    once = [name for name in called if count[name] == 1]
    if num_layers > len(once):
        raise UserError(
            f"--layers: {num_layers} are more than the {len(once)} that run once. "
            f"Write --layers={len(once)}, or less."
        )
    step = (len(once) - 1) / (num_layers - 1)
    return tuple(once[round(i * step)] for i in range(num_layers))


def capture_maps(model: nn.Module, clip_BCTHW: Tensor, layers: tuple[str, ...]) -> list[Tensor]:
    maps: list[Tensor] = []
    with _hooked(model, layers, lambda name, output: maps.append(output.clone())), torch.no_grad():
        model(clip_BCTHW)
    return maps


def forward_seconds(model: nn.Module, clip_BCTHW: Tensor) -> float:
    with torch.no_grad(), exact_products():
        return time_call(lambda: model(clip_BCTHW), clip_BCTHW.device)[0]


def product_seconds(model: nn.Module, clip_BCTHW: Tensor, *, layers: Layers) -> float:
    """Time of one product X X' per layer and nothing else.

    Each product runs right after its layer, so that its map is as warm in the caches as for a tool.
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
    """CKA by HSIC_1 (Song et al. 2012), term by term, in double precision, from centred columns."""
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
    hsic_LL = np.array([[_three_terms(k_nn, l_nn) for l_nn in grams] for k_nn in grams])
    return hsic_LL / np.sqrt(np.outer(hsic_LL.diagonal(), hsic_LL.diagonal()))


def time_call(work: Callable[[], Returned], device: torch.device) -> tuple[float, Returned]:
    """Seconds that a call took, and its result: wall time on a GPU, CPU time on a CPU.

    Everything here runs in one thread of this process, whose CPU time equals wall time where no
    other process uses the core.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    _synchronize(device)
    start = clock()
    result = work()
    _synchronize(device)
    return clock() - start, result


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _three_terms(k_nn: np.ndarray, l_nn: np.ndarray) -> float:
    """HSIC_1 of Gram matrices with a diagonal of 0, times n (n - 3)."""
    n = len(k_nn)
    row_k, row_l = k_nn.sum(0), l_nn.sum(0)
    return float(
        (k_nn * l_nn).sum()
        + row_k.sum() * row_l.sum() / ((n - 1) * (n - 2))
        - 2 * (row_k @ row_l) / (n - 2)
    )


@contextmanager
def _hooked(
    model: nn.Module, names: tuple[str, ...], on_output: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Call `on_output` with every output of the named modules within the context."""
    with ExitStack() as stack:
        for name in names:
            module = model.get_submodule(name)
            handle = module.register_forward_hook(_output_hook(name, on_output))
            stack.callback(handle.remove)
        yield


def _output_hook(name: str, on_output: Callable[[str, Tensor], None]) -> Hook:
    return lambda module, args, output: on_output(name, output)
