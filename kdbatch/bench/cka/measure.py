"""`kdbatch bench cka`: what a self map costs, beside its parts and the usual tools on the same
layers and clips. Axes: L layers.

A tool is measured twice: with the network, whose forward pass may outweigh everything, and with the
maps given, by a stand-in for the network that hands over maps computed before. Values are held
against the definition in double precision.
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
from kdbatch.run.device import own_device
from kdbatch.run.models import Classifier, build_backbone

OURS = "kdbatch"
Tool = Callable[
    [nn.Module, Tensor, Any], np.ndarray
]  # network, clips, layers: ours takes layer sets too


@dataclass(frozen=True, kw_only=True)
class CkaRow:
    """Medians of seconds. `to_ours` compares times of the same repeat; `difference` is the largest
    to double precision, NaN left out.
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
    """What was measured. `overhead` is our time over that of the forward pass and the Gram products
    together, which nobody can save.
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
    device = own_device()
    torch.manual_seed(0)
    model = Classifier(build_backbone(scale.backbone), num_classes=101).to(device).eval()
    clip_BCTHW = torch.randn(
        scale.num_clips, 3, scale.num_frames, scale.size_pixels, scale.size_pixels, device=device
    )
    layers = cast(Layers, scale.layers)  # CkaScale has checked the word
    if scale.layers.isdigit():
        layers = choose_layers(model, clip_BCTHW, num_layers=int(scale.layers))
    measured = _Measurements(model, clip_BCTHW, layers)
    if isinstance(layers, tuple):
        tools = {OURS: _ours} | {
            title: tool for title, tool in BASELINES.items() if is_installed(title)
        }
        notes = [
            f"{title} is not installed, and has no row: pip install {title}"
            for title in BASELINES
            if not is_installed(title)
        ]
    else:
        tools, notes = (
            {OURS: _ours},
            [
                "Other tools are measured on a number of layers: their time grows with its square. Type --layers=24"
            ],
        )
    for repeat in range(repeats):
        progress(repeat, repeats, "forward passes and Gram products")
        measured.add_parts()
        for title, tool in tools.items():
            progress(repeat, repeats, title)
            measured.add(title, tool)
    progress(repeats, repeats, "")
    where = torch.cuda.get_device_name() if device.type == "cuda" else "one CPU thread"
    network = f"{scale.backbone.kind}, width {scale.backbone.width:g}, {len(measured.reference_LL)} layers"
    clips = f"{scale.num_clips} clips of {scale.num_frames}x{scale.size_pixels}x{scale.size_pixels}"
    return CkaBench(
        setup=f"{network}, {clips}, {where}",
        rows=measured.rows(),
        overhead=measured.overhead(),
        notes=tuple(notes),
    )


def cka_as_lines(bench: CkaBench) -> list[str]:
    """The table for a person."""
    width = max(len(row.title) for row in bench.rows)
    head = f"{'':{width}}  seconds  to ours   maps given  to ours   off float64  NaN"
    lines = [bench.setup, head]
    for row in bench.rows:
        given = (
            f"{_cell(row.given_seconds, '.3f', 12)} {_cell(row.given_to_ours, '.1f', 7)}x"
            if row.given_seconds
            else " " * 21
        )
        error = (
            f"{_cell(row.difference, '.1e', 13)} {row.num_nan:4}" if row.num_nan is not None else ""
        )
        ratio = f"{row.to_ours:7.1f}x" if row.to_ours is not None else " " * 8
        lines.append(f"{row.title:{width}} {row.seconds:8.3f} {ratio} {given} {error}".rstrip())
    lines.append(f"{OURS} over forward passes and Gram products: {bench.overhead:.2f}")
    return [*lines, *bench.notes]


def cka_as_json(bench: CkaBench) -> str:
    """The same for a program."""
    return json.dumps(asdict(bench), indent=1)


def _cell(value: float | None, how: str, width: int) -> str:
    return f"{value:{width}{how}}" if value is not None else f"{'-':>{width}}"


def _ours(model: nn.Module, clip_BCTHW: Tensor, layers: Layers) -> np.ndarray:
    return compute_cka(model, None, [clip_BCTHW], layers=layers).whole.value_LM


class _Measurements:
    """Times and maps of every tool, and times of the parts."""

    def __init__(self, model: nn.Module, clip_BCTHW: Tensor, layers: Layers) -> None:
        self.model, self.clip_BCTHW = model, clip_BCTHW
        self.layers: Layers = layers
        self.reference_LL = reference_map(model, clip_BCTHW, layers=layers)
        self.maps = capture_maps(model, clip_BCTHW, layers) if isinstance(layers, tuple) else []
        self.forward: list[float] = []
        self.products: list[float] = []
        self.seconds: dict[str, list[float]] = {}
        self.given: dict[str, list[float]] = {}
        self.values: dict[str, np.ndarray] = {}

    def add_parts(self) -> None:
        self.forward.append(forward_seconds(self.model, self.clip_BCTHW))
        self.products.append(product_seconds(self.model, self.clip_BCTHW, layers=self.layers))

    def add(self, title: str, tool: Tool) -> None:
        """Tools get a copy of the network: some leave their hooks in it."""
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
            self.given.setdefault(title, []).append(seconds)

    def overhead(self) -> float:
        return median(
            own / (f + p)
            for own, f, p in zip(self.seconds[OURS], self.forward, self.products, strict=True)
        )

    def rows(self) -> tuple[CkaRow, ...]:
        parts = [("forward passes", self.forward), ("Gram products", self.products)]
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
            given_seconds=median(self.given[title]) if self.given else None,
            given_to_ours=_ratio(self.given[title], self.given[OURS]) if self.given else None,
            difference=float(np.nanmax(off_LL)) if np.isfinite(off_LL).any() else None,
            num_nan=int(np.isnan(off_LL).sum()),
        )


def _ratio(times: Sequence[float], base: Sequence[float]) -> float:
    return median(t / b for t, b in zip(times, base, strict=True))
