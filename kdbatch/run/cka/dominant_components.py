"""Causes of a self map: the layers' first principal components, and clips of high norm.

Axes: n clips per batch, L layers. Nguyen et al. 2022, arXiv:2202.07184: where many layers are
alike, they share a dominant first principal component, which a few inputs of large norm make. So
the map is computed again without either: the decrease is their part. Which clips count as having a
high norm, and how many, is ours.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdbatch.run.cka.block_structure import longest_run
from kdbatch.run.cka.hsic import MIN_CLIPS, CkaAccumulator, u_centred
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup

SAME_COMPONENT = 0.9  # squared cosine from which two layers share their first principal component
NUM_EIGHTH_POWERS = 4
HIGH_NORM_SHARE = 0.05  # of the clips of a batch


@dataclass(frozen=True, kw_only=True)
class DominantComponents:
    """A self map without what may dominate it.

    `deflated_LL` is the map without each layer's first principal component, `without_outliers_LL`
    the map without the clips of highest norm (None: a batch has too few clips to drop any).
    `pc1_share_L` is that component's share of a layer's variance; `pc1_block_mass` its mean over
    the longest run of layers whose first components agree (0: no two neighbours do).
    """

    deflated_LL: np.ndarray
    without_outliers_LL: np.ndarray | None
    pc1_share_L: np.ndarray
    pc1_block_mass: float


class DominantComponentSums:
    """Sums over batches, all of one size."""

    def __init__(self) -> None:
        self._deflated, self._trimmed = CkaAccumulator(), CkaAccumulator()
        self._has_outliers = False
        self._sums: list[Tensor] = []

    def add(self, gram_Lnn: Tensor) -> None:
        """Column-centred Grams of one batch."""
        split = remove_first_component(gram_Lnn)
        self._deflated.add(u_centred(split.rest_Lnn))
        kept = without_outliers(gram_Lnn)
        self._has_outliers = len(kept) < gram_Lnn.shape[1]
        if self._has_outliers:
            self._trimmed.add(u_centred(gram_Lnn[:, kept][:, :, kept]))
        overlap_LL = (split.vector_Ln @ split.vector_Ln.T).square()
        terms = [torch.ones_like(split.share_L[:1]), split.share_L, overlap_LL]
        self._sums = (
            [total + term for total, term in zip(self._sums, terms, strict=True)]
            if self._sums
            else terms
        )

    def result(self, group: ProcessGroup = SINGLE_PROCESS) -> DominantComponents:
        """The result over the batches of all ranks."""
        count, share_L, overlap_LL = (group.all_reduce_sum(s).cpu().numpy() for s in self._sums)
        share_L, overlap_LL = share_L / count, overlap_LL / count
        start, stop = longest_run(overlap_LL, SAME_COMPONENT)
        return DominantComponents(
            deflated_LL=self._deflated.result(group),
            without_outliers_LL=self._trimmed.result(group) if self._has_outliers else None,
            pc1_share_L=share_L,
            pc1_block_mass=float(share_L[start:stop].mean()) if stop > start else 0.0,
        )


@dataclass(frozen=True, kw_only=True)
class FirstComponent:
    """The first principal component of a batch (unit length), its share, and Grams without it."""

    rest_Lnn: Tensor
    vector_Ln: Tensor
    share_L: Tensor


def remove_first_component(gram_Lnn: Tensor) -> FirstComponent:
    """Split centred Grams into their first component and the rest.

    A^4096 is its first component alone, unless the second is within half a percent of it, and then
    neither is dominant. Twelve batched products in single precision take a third of the time in
    which LAPACK finds all eigenvalues, and a GPU does those of all layers at once. Two
    multiplications with A in double precision then remove what rounding added of the other
    components: the more, the smaller their eigenvalues.
    """
    trace_L11 = _traces(gram_Lnn)
    scaled_Lnn = gram_Lnn / trace_L11
    power_Lnn = scaled_Lnn.float()
    for _ in range(NUM_EIGHTH_POWERS):
        for _ in range(3):
            power_Lnn = power_Lnn @ power_Lnn
        # Scaling after every product would cost half as much more; an eighth power of 1 / n is far
        # from underflow.
        power_Lnn /= _traces(power_Lnn)
    # The column with the largest diagonal entry is the one least affected by rounding.
    column_L = power_Lnn.diagonal(dim1=1, dim2=2).argmax(1)
    place_Ln1 = column_L[:, None, None].expand(-1, power_Lnn.shape[1], 1)
    vector_Ln1 = power_Lnn.gather(2, place_Ln1).to(gram_Lnn.dtype)
    for _ in range(2):
        vector_Ln1 = torch.nn.functional.normalize(scaled_Lnn @ vector_Ln1, dim=1)
    top_L11 = vector_Ln1.mT @ (gram_Lnn @ vector_Ln1)
    return FirstComponent(
        rest_Lnn=torch.baddbmm(gram_Lnn, top_L11 * vector_Ln1, vector_Ln1.mT, alpha=-1),
        vector_Ln=vector_Ln1[:, :, 0],
        share_L=(top_L11 / trace_L11)[:, 0, 0],
    )


def _traces(gram_Lnn: Tensor) -> Tensor:
    """Traces to divide by, (L, 1, 1); 1 where a layer has no signal."""
    trace_L11 = gram_Lnn.diagonal(dim1=1, dim2=2).sum(1)[:, None, None]
    return trace_L11.where(trace_L11 > 0, 1.0)


def without_outliers(gram_Lnn: Tensor) -> Tensor:
    """Positions of the clips that are kept when the 5 % of highest norm are dropped.

    5 % are rounded down to at least one clip; all are kept where fewer than four would be. A clip's
    norm is its share of a layer's variance, summed over the layers: every layer must drop the same
    clips. HSIC_1 does not change with the means of columns, so the rest needs no new centring.
    """
    n = gram_Lnn.shape[1]
    num_dropped = max(1, int(HIGH_NORM_SHARE * n))
    if n - num_dropped < MIN_CLIPS:
        return torch.arange(n, device=gram_Lnn.device)
    norm_Ln = gram_Lnn.diagonal(dim1=1, dim2=2)
    total_L1 = norm_Ln.sum(1, keepdim=True)
    norm_n = torch.where(total_L1 > 0, norm_Ln / total_L1, 0.0).sum(0)
    return norm_n.argsort(stable=True)[: n - num_dropped].sort().values
