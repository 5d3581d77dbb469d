"""Gram matrices of all layers of a network for a batch of clips, computed inside forward hooks.

Axes: n clips, C channels, p columns, L layers. Each map is reduced to its n x n Gram matrix as soon
as its module returns: nothing is kept that a later in-place operation could overwrite, and memory
holds one map at a time. The mean of every column is subtracted before the product, because
rounding in a Gram of maps with large means hides the differences that CKA measures: with means of
100 standard deviations, an uncentred single-precision Gram has no correct digit of them.
"""

import functools
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from kdbatch.run.models.layers.stochastic_depth import StochasticDepth
from kdbatch.run.models.network import VideoBackbone

Layers = Literal["res", "act", "all"] | tuple[str, ...]
Hook = Callable[[nn.Module, object, Tensor], None]
Kind = Literal["conv", "bn", "relu", "ln", "gelu", "attention", "residual", "pool", "other"]

# On a GPU as many columns are centred at once, 64 MB of 64 clips, and their products are one
# batched product of equal parts that fill its processors. Longer parts lose digits.
GROUP_COLUMNS, PART_COLUMNS, LEAST_PART_COLUMNS = 1 << 18, 1 << 12, 1 << 9
# On a CPU a part fits into a core's cache. Rows a power of two apart would evict each other from
# it: measured, 1.3 times slower.
PART_COLUMNS_CPU = 3000
_KINDS: dict[type[nn.Module], Kind] = {
    nn.Conv3d: "conv",
    nn.BatchNorm3d: "bn",
    nn.ReLU: "relu",
    nn.ReLU6: "relu",
    nn.LayerNorm: "ln",
    nn.GELU: "gelu",
    nn.MaxPool3d: "pool",
    nn.AvgPool3d: "pool",
    nn.AdaptiveAvgPool3d: "pool",
}
_ACT_KINDS = ("conv", "bn", "relu", "ln", "gelu")
# They pass their input on while a network is compared.
_PASSING = (nn.Dropout, StochasticDepth)


@dataclass
class _Call:
    """A module that has returned. `output` is a reference that keeps nothing alive."""

    name: str
    kind: Kind
    gram_nn: Tensor
    output: weakref.ref[Tensor]


class LayerCapture:
    """A context manager with hooks on the layers of a model, put into evaluation mode.

    Layer sets: `res` is the stem (with its pool), every residual (or shuffle) unit and the global
    pool; `act` every convolution, batch norm, ReLU, LayerNorm, GELU and attention, inside the units
    and outside, and every unit; `all` every module that runs, containers too, except dropout and
    stochastic depth, which pass their input on. A tuple names modules of the model one by one.
    Layers are in the order in which they return, so a container comes after its parts. A module
    that is called several times appears as `name#1`, `name#2`, ...; a ReLU (or batch norm) whose
    output is that of its unit stands for the unit in `act`, and has the unit's kind, `residual`.
    """

    def __init__(self, model: nn.Module, *, layers: Layers) -> None:
        self.model = model
        self.layer_set = layers
        self.layers: tuple[str, ...] = ()
        self.kinds: tuple[Kind, ...] = ()
        self._calls: list[_Call] = []
        self._exit = ExitStack()
        self._stems, self._units, self._attentions, self._pools = _landmarks(model)
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
        layers = _numbered([call.name for call in self._calls])
        assert not self.layers or layers == self.layers, (
            "the model ran other layers than on the batch before"
        )
        self.layers, self.kinds = layers, tuple(call.kind for call in self._calls)
        gram_Lnn = torch.stack([call.gram_nn for call in self._calls])
        self._calls.clear()
        return gram_Lnn

    def _is_chosen(self, name: str, module: nn.Module) -> bool:
        if isinstance(self.layer_set, tuple):
            return name in self.layer_set
        if self.layer_set == "res":
            return name in self._stems | self._units | self._pools
        if self.layer_set == "act":
            return kind_of(module) in _ACT_KINDS or name in self._attentions
        return not isinstance(module, _PASSING)

    def _recorder(self, name: str) -> Hook:
        def record(module: nn.Module, args: object, output: Tensor) -> None:
            self._append(name, self._kind(name, module), output)

        return record

    def _append(self, name: str, kind: Kind, output: Tensor) -> None:
        shown = name.removeprefix("backbone.") or type(self.model).__name__
        self._calls.append(_Call(shown, kind, centred_gram(output), weakref.ref(output)))

    def _kind(self, name: str, module: nn.Module) -> Kind:
        kind = kind_of(module)
        if name in self._units:
            return "residual"
        if name in self._attentions:
            return "attention"
        # A stem that is one container ends in its ReLU.
        return "relu" if name in self._stems and kind == "other" else kind

    def _marker(self, unit: str) -> Hook:
        prefix = unit.removeprefix("backbone.") + "."

        def mark_merge(module: nn.Module, args: object, output: Tensor) -> None:
            inside = [call for call in self._calls if call.name.startswith(prefix)]
            if inside and inside[-1].output() is output:
                inside[-1].kind = "residual"
            elif self.layer_set == "act":  # no module of its own merges
                self._append(unit, "residual", output)

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
    with torch.autocast(x_np.device.type, enabled=False):
        return gram_of_parts(x_np) if x_np.device.type == "cpu" else gram_of_groups(x_np)


def gram_of_parts(x_np: Tensor) -> Tensor:
    """`centred_gram` for a CPU: part after part, each in the cache from its mean to its product."""
    n = len(x_np)
    mean_n = torch.full((n,), 1 / n, device=x_np.device)  # its product is faster than a sum
    gram_nn = torch.zeros(n, n, dtype=torch.float64, device=x_np.device)
    for part in x_np.split(PART_COLUMNS_CPU, dim=1):
        part = part.float()
        part = part - mean_n @ part
        gram_nn += part @ part.T
    return gram_nn


def gram_of_groups(x_np: Tensor) -> Tensor:
    """`centred_gram` for a GPU: four kernels for each group of columns, two to add groups."""
    width = _part_width(x_np.shape[1])
    if x_np.shape[1] % width:  # such a number of columns is rare
        x_np = functional.pad(x_np, (0, -x_np.shape[1] % width))
    grams: list[Tensor] = []
    for group in x_np.split(GROUP_COLUMNS // width * width, dim=1):
        group = group.float()
        group = group - group.mean(0)
        part_Pnc = group.unflatten(1, (-1, width)).transpose(0, 1)
        grams.append((part_Pnc @ part_Pnc.mT).sum(0, dtype=torch.float64))
    return grams[0] if len(grams) == 1 else torch.stack(grams).sum(0)


@functools.cache
def _part_width(num_columns: int) -> int:
    """The most columns of a part, if all parts are equal; PART_COLUMNS where those were short."""
    widths = range(min(PART_COLUMNS, num_columns), 0, -1)
    width = next(width for width in widths if num_columns % width == 0)
    is_short = width < min(LEAST_PART_COLUMNS, num_columns)
    return PART_COLUMNS if is_short else width


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


def _landmarks(model: nn.Module) -> tuple[set[str], set[str], set[str], set[str]]:
    """Full names of the stems, units, attentions and global pools of the backbones in `model`."""
    stems, units, attentions, pools = set(), set(), set(), set()
    for name, module in model.named_modules():
        if isinstance(module, VideoBackbone):
            prefix = f"{name}." if name else ""
            stems |= {prefix + stem for stem in module.stem_names}
            units |= {prefix + unit for unit in module.unit_names}
            attentions |= {prefix + attention for attention in module.attention_names}
            pools.add(prefix + "pool")
    return stems, units, attentions, pools


def _numbered(names: list[str]) -> tuple[str, ...]:
    total, seen, numbered = Counter(names), Counter[str](), []
    for name in names:
        seen[name] += 1
        numbered.append(f"{name}#{seen[name]}" if total[name] > 1 else name)
    return tuple(numbered)
