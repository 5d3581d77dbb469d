"""The CKA map of two networks, or of one with itself, over batches of clips.

Axes: n clips per batch, L and M layers. gram_hooks.py computes the Gram matrices, hsic.py the
similarities, dominant_components.py what dominates them, half_batches.py their intervals.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kdbatch.base.command_lines import resume_command
from kdbatch.base.errors import UserError
from kdbatch.run.cka.dominant_components import DominantComponents, DominantComponentSums
from kdbatch.run.cka.gram_hooks import LayerCapture, Layers
from kdbatch.run.cka.half_batches import half_gram
from kdbatch.run.cka.hsic import MIN_CLIPS, CkaAccumulator, u_centred
from kdbatch.run.cka.rsa import centred_ranks
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup


@dataclass(frozen=True, kw_only=True)
class LayerSimilarity:
    """Similarity of every layer of A with every layer of B: CKA, and RSA (rsa.py).

    `dominant` describes what dominates a self map; None for two networks.
    """

    value_LM: np.ndarray
    rsa_LM: np.ndarray
    dominant: DominantComponents | None


@dataclass(frozen=True, kw_only=True)
class CkaResult:
    """The map of all clips, the maps of the requested halves of each batch, and their layers."""

    whole: LayerSimilarity
    halves: tuple[LayerSimilarity, ...]
    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    kinds_a: tuple[str, ...]
    kinds_b: tuple[str, ...]
    num_clips: int


def compute_cka(
    model_a: nn.Module,
    model_b: nn.Module | None,
    batches: Iterable[Tensor],
    *,
    layers: Layers,
    halves_Sm: Tensor | None = None,
    group: ProcessGroup = SINGLE_PROCESS,
    titles: Sequence[str] = ("the first network", "the second network"),
) -> CkaResult:
    """The map of two networks that see the same clips, or of one with itself (`model_b` None).

    With itself, the network runs once per batch. Every rank passes batches of its own, at least
    one, and gets the map of all of them. Each row of `halves_Sm` has positions of clips in a batch:
    the map is computed from these alone, too.

    Raises:
        UserError: there is no batch, or one of fewer than 4 clips; a layer gives NaN or infinity.
            `titles` are the networks' names there.
    """
    whole, non_finite = MapSums(), NonFiniteLayers(titles)
    halves = [MapSums() for _ in (() if halves_Sm is None else halves_Sm)]
    num_clips = batch_clips = 0
    grams: list[Tensor] = []
    with ExitStack() as stack:
        models = [model_a] if model_b is None else [model_a, model_b]
        captures = [stack.enter_context(LayerCapture(model, layers=layers)) for model in models]
        for clip_BCTHW in batches:
            batch_clips = _checked_size(clip_BCTHW, before=batch_clips)
            num_clips += batch_clips
            grams = [capture.grams(clip_BCTHW) for capture in captures]
            non_finite.add(grams)
            whole.add(grams)
            for half, sums in enumerate(halves):
                assert halves_Sm is not None
                halves_Sm = halves_Sm.to(grams[0].device)  # copied once
                sums.add([half_gram(gram_Lnn, halves_Sm[half]) for gram_Lnn in grams])
    if not num_clips:
        raise UserError(
            "compare: no batch of clips to compare on. Take more videos, or lower "
            "compare.batch_clips."
        )
    non_finite.raise_if_any([capture.layers for capture in captures], group)
    return CkaResult(
        whole=whole.result(group),
        halves=tuple(sums.result(group) for sums in halves),
        layers_a=captures[0].layers,
        layers_b=captures[-1].layers,
        kinds_a=captures[0].kinds,
        kinds_b=captures[-1].kinds,
        num_clips=int(group.all_reduce_sum(torch.tensor([num_clips], device=grams[0].device))),
    )


class MapSums:
    """Sums over batches of one size from which a map is computed."""

    def __init__(self) -> None:
        self._plain, self._dominant = CkaAccumulator(), DominantComponentSums()
        self._ranks = CkaAccumulator()
        self._is_self = False

    def add(self, grams: Sequence[Tensor]) -> None:
        """Column-centred Grams of one batch, of one network or of two."""
        rows = [u_centred(gram_Lnn) for gram_Lnn in grams]
        self._plain.add(*rows)
        pairs = zip(grams, rows, strict=True)
        self._ranks.add(*(centred_ranks(g, has_spread_L=row.any(1)) for g, row in pairs))
        self._is_self = len(grams) == 1
        if self._is_self:
            self._dominant.add(grams[0])

    def result(self, group: ProcessGroup = SINGLE_PROCESS) -> LayerSimilarity:
        """The map over the batches of all ranks."""
        return LayerSimilarity(
            value_LM=self._plain.result(group),
            rsa_LM=self._ranks.result(group),
            dominant=self._dominant.result(group) if self._is_self else None,
        )


class NonFiniteLayers:
    """Counts the layers that gave NaN or infinity, which would spread to the maps of all ranks.

    A Gram is not finite where its layer is not, or has numbers whose squares are beyond single
    precision.
    """

    def __init__(self, titles: Sequence[str]) -> None:
        self._titles = titles
        self._counts: list[Tensor] = []

    def add(self, grams: Sequence[Tensor]) -> None:
        """Count the Grams of one batch, of each network. The host does not wait for the counts."""
        counts = [(~gram_Lnn.sum((1, 2)).isfinite()).long() for gram_Lnn in grams]
        self._counts = [
            before + count for before, count in zip(self._counts or [0, 0], counts, strict=False)
        ]

    def raise_if_any(self, layers: Sequence[Sequence[str]], group: ProcessGroup) -> None:
        """Raise a UserError on every rank if one found any, so that none waits for the others."""
        # Not strict: there may be a second title and no second network.
        for count_L, names, title in zip(self._counts, layers, self._titles, strict=False):
            broken = group.all_reduce_sum(count_L).nonzero().flatten().tolist()
            if broken:
                raise UserError(
                    f"compare: {title}: layer {names[broken[0]]} gives NaN, infinity or numbers "
                    "above 1e19, so there is nothing to compare. Its training has diverged: lower "
                    f"that run's lr, then: {resume_command()}"
                )


def _checked_size(clip_BCTHW: Tensor, *, before: int) -> int:
    num_clips = len(clip_BCTHW)
    if num_clips < MIN_CLIPS:
        raise UserError(
            f"compare.batch_clips: {num_clips} clips are too few: the unbiased HSIC needs "
            f"{MIN_CLIPS}. Write 64, for example."
        )
    assert before in (0, num_clips), (
        f"batches of {before} and of {num_clips} clips: the mean over batches needs equal ones"
    )
    return num_clips
