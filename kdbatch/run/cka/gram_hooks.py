"""Gram matrices of all layers of a network for a batch of clips, computed inside forward hooks.

Axes: n clips, C channels, p columns, L layers. Each map is reduced to its n x n Gram matrix as soon
as its module returns: nothing is kept that a later in-place operation could overwrite, and memory
holds one map at a time. The mean of every column is subtracted before the product, because
rounding in a Gram of maps with large means hides the differences that CKA measures: with means of
100 standard deviations, an uncentred single-precision Gram has no correct digit of them.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Literal

import torch
from torch import Tensor, nn

from kdbatch.run.models.network import VideoBackbone

Layers = Literal["res", "act", "all"] | tuple[str, ...]
Hook = Callable[[nn.Module, object, Tensor], None]
Kind = Literal["conv", "bn", "relu", "residual", "pool", "other"]

CHUNK_COLUMNS = 1 << 16  # 16 MB of single-precision temporaries for 64 clips
# They fit into a core's cache. Rows a power of two apart would evict each other from it: measured,
# 1.3 times slower.
CHUNK_COLUMNS_CPU = 3000
_KINDS: dict[type[nn.Module], Kind] = {
    nn.Conv3d: "conv",
    nn.BatchNorm3d: "bn",
    nn.ReLU: "relu",
    nn.MaxPool3d: "pool",
    nn.AvgPool3d: "pool",
    nn.AdaptiveAvgPool3d: "pool",
}


class LayerCapture:
    """A context manager with hooks on the layers of a model, put into evaluation mode.

    Layer sets: `res` is the stem (with its pool), every residual (or shuffle) unit and the global
    pool; `act` every convolution, batch norm and ReLU, inside the units and outside; `all` every
    module that runs, containers too, except dropout, which passes its input on. A tuple names
    modules of the model one by one. Layers are in the order in which they return, so a container
    comes after its parts. A module that is called several times appears as `name#1`, `name#2`, ...;
    the ReLU that ends a unit has kind `residual`, like the unit itself.
    """

    def __init__(self, model: nn.Module, *, layers: Layers) -> None:
        self.model = model
        self.layer_set = layers
        self.layers: tuple[str, ...] = ()
        self.kinds: tuple[Kind, ...] = ()
        self._calls: list[tuple[str, Kind, Tensor]] = []
        self._exit = ExitStack()
        self._stems, self._units, self._pools = _landmarks(model)
        assert layers != "res" or self._units, "the model has no VideoBackbone: no residual units"
        if isinstance(layers, tuple):
            assert set(layers) <= {name for name, _ in model.named_modules()}, "no such module"

    def captured_names(self) -> tuple[str, ...]:
        """Full names of the captured modules, in the order of the model's modules."""
        return tuple(
            name for name, module in self.model.named_modules() if self._is_chosen(name, module)
        )

    def __enter__(self) -> "LayerCapture":
        for module in self.model.modules():
            # Each module's own mode: some are frozen in evaluation mode.
            self._exit.callback(setattr, module, "training", module.training)
        self.model.eval()
        for name in self.captured_names():
            self._add_hook(name, self._recorder(name))
        for name in self._units:
            self._add_hook(name, self._marker(name))
        return self

    def _add_hook(self, name: str, hook: Hook) -> None:
        handle = self.model.get_submodule(name).register_forward_hook(hook)
        self._exit.callback(handle.remove)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._exit.close()

    @torch.no_grad()
    def grams(self, clip_BCTHW: Tensor) -> Tensor:
        """Run the model once; the column-centred Grams of all layers, (L, n, n), float64."""
        self._calls.clear()
        with exact_products():
            self.model(clip_BCTHW)
        layers = _numbered([name for name, _, _ in self._calls])
        assert not self.layers or layers == self.layers, (
            "the model ran other layers than on the batch before"
        )
        self.layers, self.kinds = layers, tuple(kind for _, kind, _ in self._calls)
        gram_Lnn = torch.stack([gram_nn for _, _, gram_nn in self._calls])
        self._calls.clear()
        return gram_Lnn

    def _is_chosen(self, name: str, module: nn.Module) -> bool:
        if isinstance(self.layer_set, tuple):
            return name in self.layer_set
        if self.layer_set == "res":
            return name in self._stems | self._units | self._pools
        if self.layer_set == "act":
            return kind_of(module) in ("conv", "bn", "relu")
        return not isinstance(module, nn.Dropout)

    def _recorder(self, name: str) -> Hook:
        shown = name.removeprefix("backbone.") or type(self.model).__name__

        def record(module: nn.Module, args: object, output: Tensor) -> None:
            self._calls.append((shown, self._kind(name, module), centred_gram(output)))

        return record

    def _kind(self, name: str, module: nn.Module) -> Kind:
        kind = kind_of(module)
        if name in self._units:
            return "residual"
        # A stem that is one container ends in its ReLU.
        return "relu" if name in self._stems and kind == "other" else kind

    def _marker(self, unit: str) -> Hook:
        prefix = unit.removeprefix("backbone.") + "."

        def mark_merge(module: nn.Module, args: object, output: Tensor) -> None:
            inside = [i for i, (name, _, _) in enumerate(self._calls) if name.startswith(prefix)]
            if inside:
                name, _, gram_nn = self._calls[inside[-1]]
                self._calls[inside[-1]] = (name, "residual", gram_nn)

        return mark_merge


def kind_of(module: nn.Module) -> Kind:
    """The kind of a module: that of its class, or of one above it."""
    for base, kind in _KINDS.items():
        if isinstance(module, base):
            return kind
    return "other"


def centred_gram(map_nC: Tensor) -> Tensor:
    """X X', where X (n, p) is the map minus its mean over clips.

    Products are in single precision, sums of parts in double.
    """
    x_np = as_rows(map_nC.detach())
    n = len(x_np)
    mean_n = torch.full((n,), 1 / n, device=x_np.device)  # its product is faster than a sum
    chunk_columns = CHUNK_COLUMNS_CPU if x_np.device.type == "cpu" else CHUNK_COLUMNS
    gram_nn = torch.zeros(n, n, dtype=torch.float64, device=x_np.device)
    with torch.autocast(x_np.device.type, enabled=False):
        for part in x_np.split(chunk_columns, dim=1):
            part = part.float()
            part = part - mean_n @ part
            gram_nn += part @ part.T
    return gram_nn


def as_rows(map_nC: Tensor) -> Tensor:
    """A map as (n, p), without a copy if it is contiguous or channels-last.

    The order of columns does not matter.
    """
    return (map_nC if map_nC.is_contiguous() else map_nC.movedim(1, -1)).flatten(1)


@contextmanager
def exact_products() -> Iterator[None]:
    """Compute single-precision products in single precision: no TF32, no bfloat16.

    The settings of the process are restored afterwards.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # pyright: ignore[reportAttributeAccessIssue]
    before = [backend.fp32_precision for backend in backends]
    for backend in backends:
        backend.fp32_precision = "ieee"
    try:
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


def _landmarks(model: nn.Module) -> tuple[set[str], set[str], set[str]]:
    """Full names of the stems, the units and the global pools of the backbones in `model`."""
    stems, units, pools = set(), set(), set()
    for name, module in model.named_modules():
        if isinstance(module, VideoBackbone):
            prefix = f"{name}." if name else ""
            stems |= {prefix + stem for stem in module.stem_names}
            units |= {prefix + unit for unit in module.unit_names}
            pools.add(prefix + "pool")
    return stems, units, pools


def _numbered(names: list[str]) -> tuple[str, ...]:
    total, seen, numbered = Counter(names), Counter[str](), []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name}#{seen[name]}" if total[name] > 1 else name)
    return tuple(numbered)
