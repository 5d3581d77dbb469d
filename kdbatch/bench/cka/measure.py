"""Measures `kdbatch bench cka`: the CKA map of a network with itself, its parts, and other tools.

All use the same layers and clips. A tool is measured twice: with the network, whose forward pass
may dominate, and with given maps, by a substitute for the network that returns maps computed
before. Values are compared with the definition in double precision. Axes: L layers.
"""

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from kdbatch.base.progress import Progress
from kdbatch.bench.cka.baselines import BASELINES, is_installed
from kdbatch.bench.cka.parts import (
    Replay,
    capture_maps,
    choose_layers,
    forward_seconds,
    product_seconds,
    reference_map,
    time_call,
)
from kdbatch.bench.cka.scale import CkaScale
from kdbatch.run.cka.cka import compute_cka
from kdbatch.run.cka.gram_hooks import Layers
from kdbatch.run.device import select_device
from kdbatch.run.models import Classifier, build_backbone

OURS = "kdbatch"
Tool = Callable[[nn.Module, Tensor, Any], np.ndarray]
"""Network, clips and layers (names, and for ours also a layer set) to values."""


@dataclass(frozen=True, kw_only=True)
class CkaRow:
    """A tool or a part; medians over the repeats.

    `to_ours` is the time divided by ours in the same repeat. `difference` is the largest deviation
    from the reference in double precision, without NaN.
    """

    title: str
    seconds: float
    to_ours: float | None = None
    given_seconds: float | None = None
    given_to_ours: float | None = None
    difference: float | None = None
    num_nan: int | None = None


@dataclass(frozen=True, kw_only=True)
class CkaBench:
    """All rows. `overhead` is our time divided by that of the forward pass and the Gram products
    together, which no tool can avoid.
    """

    setup: str
    rows: tuple[CkaRow, ...]
    overhead: float
    notes: tuple[str, ...]


def bench_cka(scale: CkaScale, *, progress: Progress, repeats: int = 3) -> CkaBench:
    """Measure parts and tools in turn, `repeats` times, on random clips and random weights.

    Raises:
        UserError: more layers are asked for than the network has.
    """
    device = select_device()
    torch.manual_seed(0)
    model = Classifier(build_backbone(scale.backbone), num_classes=101).to(device).eval()
    clip_BCTHW = torch.randn(
        scale.num_clips, 3, scale.num_frames, scale.size_pixels, scale.size_pixels, device=device
    )
    layers = cast(Layers, scale.layers)  # CkaScale has checked it
    if scale.layers.isdigit():
        layers = choose_layers(model, clip_BCTHW, num_layers=int(scale.layers))
    measurements = _Measurements(model, clip_BCTHW, layers)
    tools, notes = _choose_tools(layers)
    for repeat in range(repeats):
        progress(repeat, repeats, "forward passes and Gram products")
        measurements.add_parts()
        for title, tool in tools.items():
            progress(repeat, repeats, title)
            measurements.add(title, tool)
    progress(repeats, repeats, "")
    size = scale.size_pixels
    return CkaBench(
        setup=(
            f"{scale.backbone.kind}, width {scale.backbone.width:g}, "
            f"{len(measurements.reference_LL)} layers, "
            f"{scale.num_clips} clips of {scale.num_frames}x{size}x{size}, "
            f"{torch.cuda.get_device_name() if device.type == 'cuda' else 'one CPU thread'}"
        ),
        rows=measurements.rows(),
        overhead=measurements.overhead(),
        notes=tuple(notes),
    )


def _choose_tools(layers: Layers) -> tuple[dict[str, Tool], list[str]]:
    """The tools to measure by title, and notes on those that are not measured."""
    if not isinstance(layers, tuple):
        note = (
            "Other tools are measured on a number of layers: their time grows with its square. "
            "Type --layers=24"
        )
        return {OURS: _ours}, [note]
    tools: dict[str, Tool] = {OURS: _ours}
    notes = []
    for title, tool in BASELINES.items():
        if is_installed(title):
            tools[title] = tool
        else:
            notes.append(f"{title} is not installed, and has no row: pip install {title}")
    return tools, notes


def cka_as_lines(bench: CkaBench) -> list[str]:
    """The table as lines of text."""
    width = max(len(row.title) for row in bench.rows)
    head = f"{'':{width}}  seconds  to ours   maps given  to ours   off float64  NaN"
    lines = [bench.setup, head]
    for row in bench.rows:
        given, error = " " * 21, ""
        if row.given_seconds:
            given = f"{_cell(row.given_seconds, '.3f', 12)} {_cell(row.given_to_ours, '.1f', 7)}x"
        if row.num_nan is not None:
            error = f"{_cell(row.difference, '.1e', 13)} {row.num_nan:4}"
        ratio = f"{row.to_ours:7.1f}x" if row.to_ours is not None else " " * 8
        lines.append(f"{row.title:{width}} {row.seconds:8.3f} {ratio} {given} {error}".rstrip())
    lines.append(f"{OURS} over forward passes and Gram products: {bench.overhead:.2f}")
    return [*lines, *bench.notes]


def cka_as_json(bench: CkaBench) -> str:
    """The results as JSON."""
    return json.dumps(asdict(bench), indent=1)


def _cell(value: float | None, spec: str, width: int) -> str:
    return f"{value:{width}{spec}}" if value is not None else f"{'-':>{width}}"


def _ours(model: nn.Module, clip_BCTHW: Tensor, layers: Layers) -> np.ndarray:
    return compute_cka(model, None, [clip_BCTHW], layers=layers).whole.value_LM


class _Measurements:
    """Collects times and values of every tool, and times of the parts."""

    def __init__(self, model: nn.Module, clip_BCTHW: Tensor, layers: Layers) -> None:
        self.model, self.clip_BCTHW = model, clip_BCTHW
        self.layers: Layers = layers
        self.reference_LL = reference_map(model, clip_BCTHW, layers=layers)
        self.maps = capture_maps(model, clip_BCTHW, layers) if isinstance(layers, tuple) else []
        self.forward_seconds: list[float] = []
        self.product_seconds: list[float] = []
        self.seconds: dict[str, list[float]] = {}
        self.given_seconds: dict[str, list[float]] = {}
        self.values: dict[str, np.ndarray] = {}

    def add_parts(self) -> None:
        self.forward_seconds.append(forward_seconds(self.model, self.clip_BCTHW))
        self.product_seconds.append(
            product_seconds(self.model, self.clip_BCTHW, layers=self.layers)
        )

    def add(self, title: str, tool: Tool) -> None:
        """Run a tool on a copy of the network, as some leave their hooks in it."""
        model = copy.deepcopy(self.model)
        seconds, self.values[title] = time_call(
            lambda: tool(model, self.clip_BCTHW, self.layers), self.clip_BCTHW.device
        )
        self.seconds.setdefault(title, []).append(seconds)
        if self.maps:
            replay = Replay(self.maps)
            seconds, _ = time_call(
                lambda: tool(replay, self.clip_BCTHW, replay.names), self.clip_BCTHW.device
            )
            self.given_seconds.setdefault(title, []).append(seconds)

    def overhead(self) -> float:
        return median(
            own / (forward + products)
            for own, forward, products in zip(
                self.seconds[OURS], self.forward_seconds, self.product_seconds, strict=True
            )
        )

    def rows(self) -> tuple[CkaRow, ...]:
        parts = [("forward passes", self.forward_seconds), ("Gram products", self.product_seconds)]
        return (
            *(CkaRow(title=title, seconds=median(times)) for title, times in parts),
            *map(self._row, self.seconds),
        )

    def _row(self, title: str) -> CkaRow:
        off_LL = np.abs(self.values[title] - self.reference_LL)
        return CkaRow(
            title=title,
            seconds=median(self.seconds[title]),
            to_ours=_ratio(self.seconds[title], self.seconds[OURS]),
            given_seconds=median(self.given_seconds[title]) if self.given_seconds else None,
            given_to_ours=_ratio(self.given_seconds[title], self.given_seconds[OURS])
            if self.given_seconds
            else None,
            difference=float(np.nanmax(off_LL)) if np.isfinite(off_LL).any() else None,
            num_nan=int(np.isnan(off_LL).sum()),
        )


def _ratio(times: Sequence[float], base: Sequence[float]) -> float:
    return median(t / b for t, b in zip(times, base, strict=True))
