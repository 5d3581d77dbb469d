"""Minibatch linear CKA from Gram matrices. Axes: n clips per batch, L and M layers.

Kornblith et al. 2019, arXiv:1905.00414: CKA(K, L) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with
Gram matrices K, L. Minibatches as in Nguyen et al. 2021, arXiv:2010.15327, sec. 2: the unbiased
HSIC_1 (eq. 3 there, from Song et al. 2012) is averaged over batches of equal size, then the ratio
is formed; never a mean of ratios. With A_K, the U-centred K of Szekely and Rizzo (2014),

    HSIC_1(K, L) = <A_K, A_L> / (n (n - 3)),

so all pairs of layers are one matrix product, and the factor 1 / (n (n - 3)) cancels in the ratio.
"""

import numpy as np
import torch
from torch import Tensor

from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup

MIN_CLIPS = 4  # HSIC_1 divides by n (n - 3)
ROUNDING = 1e-6
"""If centring shrinks a Gram's norm to less than this share, what is left is rounding error.

Identical clips leave at most 1e-7 in single precision. Real features leave far more: p independent
ones about n / sqrt(p), which is 1e-3 for four clips and ten million features.
"""


class CkaAccumulator:
    """Sums of HSIC terms over batches: one cross product and two vectors, in the Grams' dtype."""

    def __init__(self) -> None:
        self._sums: list[Tensor] = []

    def add(self, a_Ln2: Tensor, b_Mn2: Tensor | None = None) -> None:
        """Add the U-centred Grams of one batch, a row per layer; all batches have one size.

        Without `b_Mn2` they are of one network with itself.
        """
        cross_LM = a_Ln2 @ (a_Ln2 if b_Mn2 is None else b_Mn2).T
        self_L = a_Ln2.square().sum(1) if b_Mn2 is not None else cross_LM.diagonal()
        self_M = self_L if b_Mn2 is None else b_Mn2.square().sum(1)
        terms = [cross_LM, self_L, self_M]
        self._sums = (
            [total + term for total, term in zip(self._sums, terms, strict=True)]
            if self._sums
            else terms
        )

    def result(self, group: ProcessGroup = SINGLE_PROCESS) -> np.ndarray:
        """CKA, (L, M), over the batches of all ranks.

        It is 0 for a layer whose output is the same for every clip, even with itself.
        """
        assert self._sums, "no batch was added"
        cross_LM, self_L, self_M = (group.all_reduce_sum(s).cpu().numpy() for s in self._sums)
        scale_LM = np.sqrt(np.outer(self_L, self_M))
        return np.divide(cross_LM, scale_LM, out=np.zeros_like(cross_LM), where=scale_LM > 0)


def u_centred(gram_Lnn: Tensor) -> Tensor:
    """U-centred Grams as rows, (L, n*n): zero diagonal, and every row and column sums to zero.

    Grams that are rounding errors alone become zero.
    """
    n = gram_Lnn.shape[-1]
    centred_Lnn = gram_Lnn.clone()  # the only copy: all else is in place
    diagonal_Ln = centred_Lnn.diagonal(dim1=1, dim2=2)
    diagonal_Ln.zero_()
    before_L = torch.linalg.vector_norm(centred_Lnn, dim=(1, 2))
    mean_Ln = centred_Lnn.sum(1) / (n - 2)
    mean_Ln = mean_Ln - mean_Ln.sum(1, keepdim=True) / (2 * (n - 1))
    centred_Lnn -= mean_Ln[:, :, None]
    centred_Lnn -= mean_Ln[:, None, :]
    diagonal_Ln.zero_()
    # An assignment to the layers that are would wait for a GPU to count them.
    is_rounding_L = torch.linalg.vector_norm(centred_Lnn, dim=(1, 2)) <= ROUNDING * before_L
    centred_Lnn.masked_fill_(is_rounding_L[:, None, None], 0.0)
    return centred_Lnn.flatten(1)
