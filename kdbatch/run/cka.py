"""Minibatch linear CKA between all layers of two networks. Axes: n clips per batch, L and M layers.

Kornblith et al. 2019, arXiv:1905.00414: CKA(K, L) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with Gram matrices K, L. Minibatches as in
Nguyen et al. 2021, arXiv:2010.15327, sec. 2: the unbiased HSIC_1 (Song et al. 2012) is averaged over batches of equal size, then the
ratio is formed; never a mean of ratios. With the U-centring of Szekely and Rizzo (2014), HSIC_1 = <A_K, A_L> / (n (n - 3)), so all pairs
of layers are one matrix product, and the factor cancels in the ratio.
"""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kdbatch.run.blocks import longest_run
from kdbatch.run.hooks import LayerCapture, LayerSet
from kdbatch.vocab.errors import UserError

MIN_CLIPS = 4  # HSIC_1 divides by n (n - 3)
SAME_COMPONENT = 0.9  # squared cosine from which two layers share their first principal component


@dataclass(frozen=True, kw_only=True)
class CkaResult:
    """Similarity of every layer of A with every layer of B, and what drives it.

    `deflated_LM` is the same after each layer has lost its first principal component. `pc1_share_L` is that component's share of A's
    variance; `pc1_block_mass` its mean over the longest run of layers of A whose first components agree (0: no two neighbours do).
    """

    layers_a: tuple[str, ...]
    layers_b: tuple[str, ...]
    kinds_a: tuple[str, ...]
    kinds_b: tuple[str, ...]
    value_LM: np.ndarray
    deflated_LM: np.ndarray
    pc1_share_L: np.ndarray
    pc1_block_mass: float
    num_clips: int


class CkaAccumulator:
    """Sums of HSIC terms over batches: one cross product and two vectors, in double precision where the Grams are."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def add(self, a_Ln2: Tensor, b_Mn2: Tensor | None = None) -> None:
        """U-centred Grams of one batch, a row per layer; without `b`, of one network with itself. All batches have one size."""
        cross_LM = a_Ln2 @ (a_Ln2 if b_Mn2 is None else b_Mn2).T
        self_L = a_Ln2.square().sum(1) if b_Mn2 is not None else cross_LM.diagonal()
        self_M = self_L if b_Mn2 is None else b_Mn2.square().sum(1)
        terms = [cross_LM, self_L, self_M]
        self._sums = [total + term for total, term in zip(self._sums, terms, strict=True)] if self._sums else terms

    def result(self) -> np.ndarray:
        """CKA, (L, M). A layer that says the same of every clip is like no other and not like itself: 0."""
        assert self._sums, "no batch was added"
        cross_LM, self_L, self_M = (s.cpu().numpy() for s in self._sums)
        scale_LM = np.sqrt(np.outer(self_L, self_M))
        return np.divide(cross_LM, scale_LM, out=np.zeros_like(cross_LM), where=scale_LM > 0)


def u_centred(gram_Lnn: Tensor) -> Tensor:
    """U-centred Grams as rows, (L, n*n): zero diagonal, and every row and column sums to zero."""
    n = gram_Lnn.shape[-1]
    hollow_Lnn = gram_Lnn - torch.diag_embed(gram_Lnn.diagonal(dim1=1, dim2=2))
    mean_Ln = hollow_Lnn.sum(1) / (n - 2)
    mean_Ln = mean_Ln - mean_Ln.sum(1, keepdim=True) / (2 * (n - 1))
    centred_Lnn = hollow_Lnn - mean_Ln[:, :, None] - mean_Ln[:, None, :]
    return (centred_Lnn - torch.diag_embed(centred_Lnn.diagonal(dim1=1, dim2=2))).flatten(1)


def compute_cka(model_a: nn.Module, model_b: nn.Module | None, batches: Iterable[Tensor], *, layers: LayerSet) -> CkaResult:
    """The map of two networks that see the same clips, or of one with itself (None), which then runs once per batch.

    Raises:
        UserError: there is no batch, or one of fewer than 4 clips.
    """
    plain, deflated, components = CkaAccumulator(), CkaAccumulator(), ComponentSums()
    num_clips = batch_clips = 0
    with ExitStack() as stack:
        models = [model_a] if model_b is None else [model_a, model_b]
        captures = [stack.enter_context(LayerCapture(model, layers=layers)) for model in models]
        for clip_BCTHW in batches:
            batch_clips = _checked_size(clip_BCTHW, before=batch_clips)
            num_clips += batch_clips
            spectra = [spectrum(capture.grams(clip_BCTHW)) for capture in captures]
            components.add(spectra[0])
            plain.add(*(u_centred(s.gram_Lnn) for s in spectra))
            deflated.add(*(u_centred(s.rest_Lnn) for s in spectra))
    if not num_clips:
        raise UserError("compare: no batch of clips to compare on. Take more videos, or lower compare.batch_clips.")
    share_L, overlap_LL = components.means()
    start, stop = longest_run(overlap_LL, SAME_COMPONENT)
    return CkaResult(
        layers_a=captures[0].layers,
        layers_b=captures[-1].layers,
        kinds_a=captures[0].kinds,
        kinds_b=captures[-1].kinds,
        value_LM=plain.result(),
        deflated_LM=deflated.result(),
        pc1_share_L=share_L,
        pc1_block_mass=float(share_L[start:stop].mean()) if stop > start else 0.0,
        num_clips=num_clips,
    )


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """Grams of one batch, the same without their first principal component, that component and its share of the variance."""

    gram_Lnn: Tensor
    rest_Lnn: Tensor
    vector_Ln: Tensor
    share_L: Tensor


def spectrum(gram_Lnn: Tensor) -> Spectrum:
    """Split centred Grams at their largest eigenvalue (Nguyen et al. 2022, arXiv:2202.07184, sec. 4)."""
    value_Ln, vector_Lnn = torch.linalg.eigh(gram_Lnn)
    top_L, vector_Ln = value_Ln[:, -1], vector_Lnn[:, :, -1]
    trace_L = gram_Lnn.diagonal(dim1=1, dim2=2).sum(1)
    return Spectrum(
        gram_Lnn=gram_Lnn,
        rest_Lnn=gram_Lnn - top_L[:, None, None] * vector_Ln[:, :, None] * vector_Ln[:, None, :],
        vector_Ln=vector_Ln,
        share_L=torch.where(trace_L > 0, top_L / trace_L, 0.0),
    )


class ComponentSums:
    """Means over batches: the share of each layer's first component, and the squared cosines between those of all layers."""

    def __init__(self) -> None:
        self._share: list[np.ndarray] = []
        self._overlap: list[np.ndarray] = []

    def add(self, split: Spectrum) -> None:
        self._share.append(split.share_L.cpu().numpy())
        self._overlap.append((split.vector_Ln @ split.vector_Ln.T).square().cpu().numpy())

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        return np.mean(self._share, axis=0), np.mean(self._overlap, axis=0)


def _checked_size(clip_BCTHW: Tensor, *, before: int) -> int:
    num_clips = len(clip_BCTHW)
    if num_clips < MIN_CLIPS:
        raise UserError(f"compare.batch_clips: {num_clips} clips are too few: the unbiased HSIC needs {MIN_CLIPS}. Write 64, for example.")
    assert before in (0, num_clips), f"batches of {before} and of {num_clips} clips: the mean over batches needs equal ones"
    return num_clips
