"""What drives a self map: the layers' first principal components, and the few loudest clips. Axes:
n clips per batch, L layers.

Nguyen et al. 2022, arXiv:2202.07184: where many layers are alike, they share a dominant first
principal component, and a few inputs of large norm make that component. So the map is made again
without either; what falls then was theirs. Which clips count as loud, and how many, is ours.
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
    """`deflated_LL` is the map after each layer has lost its first principal component, `quiet_LL`
    the map without the loudest clips (None: a batch has too few to lose any). `pc1_share_L` is that
    component's share of a layer's variance; `pc1_block_mass` its mean over the longest run of
    layers whose first components agree (0: no two neighbours do).
    """

    deflated_LL: np.ndarray
    without_outliers_LL: np.ndarray | None
    pc1_share_L: np.ndarray
    pc1_block_mass: float


class DominantComponentSums:
    """Sums over batches, all of one size."""

    def __init__(self) -> None:
        self._deflated, self._quiet = CkaAccumulator(), CkaAccumulator()
        self._has_quiet = False
        self._sums: list[Tensor] = []

    def add(self, gram_Lnn: Tensor) -> None:
        """Column-centred Grams of one batch."""
        split = remove_first_component(gram_Lnn)
        self._deflated.add(u_centred(split.rest_Lnn))
        quiet = without_outliers(gram_Lnn)
        self._has_quiet = len(quiet) < gram_Lnn.shape[1]
        if self._has_quiet:
            self._quiet.add(u_centred(gram_Lnn[:, quiet][:, :, quiet]))
        overlap_LL = (split.vector_Ln @ split.vector_Ln.T).square()
        terms = [torch.ones_like(split.share_L[:1]), split.share_L, overlap_LL]
        self._sums = (
            [total + term for total, term in zip(self._sums, terms, strict=True)]
            if self._sums
            else terms
        )

    def result(self, group: ProcessGroup = SINGLE_PROCESS) -> DominantComponents:
        """Over the batches of a whole team."""
        count, share_L, overlap_LL = (group.all_reduce_sum(s).cpu().numpy() for s in self._sums)
        share_L, overlap_LL = share_L / count, overlap_LL / count
        start, stop = longest_run(overlap_LL, SAME_COMPONENT)
        return DominantComponents(
            deflated_LL=self._deflated.result(group),
            without_outliers_LL=self._quiet.result(group) if self._has_quiet else None,
            pc1_share_L=share_L,
            pc1_block_mass=float(share_L[start:stop].mean()) if stop > start else 0.0,
        )


@dataclass(frozen=True, kw_only=True)
class FirstComponent:
    """Grams of one batch without their first principal component, that component (unit length) and
    its share of the variance.
    """

    rest_Lnn: Tensor
    vector_Ln: Tensor
    share_L: Tensor


def remove_first_component(gram_Lnn: Tensor) -> FirstComponent:
    """Split centred Grams at their largest eigenvalue.

    A^4096 is its first component alone, unless the second is within half a percent of it, and then
    neither is dominant. Twelve batched products in single precision take a third of the time in
    which LAPACK finds all eigenvalues, and a GPU does those of all layers at once. Two steps of A
    in double precision then take off what rounding left of the other components: the more, the less
    they weigh.
    """
    trace_L11 = _traces(gram_Lnn)
    scaled_Lnn = gram_Lnn / trace_L11
    power_Lnn = scaled_Lnn.float()
    for _ in range(NUM_EIGHTH_POWERS):
        for _ in range(3):
            power_Lnn = power_Lnn @ power_Lnn
        power_Lnn /= _traces(
            power_Lnn
            # every time would cost half as much again; an eighth power of 1 / n is far from underflow
        )
    loudest_L = power_Lnn.diagonal(dim1=1, dim2=2).argmax(1)  # the column least touched by rounding
    vector_Ln1 = power_Lnn[torch.arange(len(gram_Lnn)), :, loudest_L].to(gram_Lnn.dtype)[:, :, None]
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
    """Numbers of the clips that stay when the loudest 5 % (rounded down, at least one) go; all,
    where fewer than four would stay.

    A clip's loudness is its share of a layer's variance, averaged over the layers: every layer must
    lose the same clips. HSIC_1 does not change with the means of columns, so what stays needs no
    new centring.
    """
    n = gram_Lnn.shape[1]
    num_loud = max(1, int(HIGH_NORM_SHARE * n))
    if n - num_loud < MIN_CLIPS:
        return torch.arange(n, device=gram_Lnn.device)
    norm_Ln = gram_Lnn.diagonal(dim1=1, dim2=2)
    total_L1 = norm_Ln.sum(1, keepdim=True)
    loudness_n = torch.where(total_L1 > 0, norm_Ln / total_L1, 0.0).sum(0)
    return loudness_n.argsort(stable=True)[: n - num_loud].sort().values
