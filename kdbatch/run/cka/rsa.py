"""Representational similarity analysis (RSA) from Gram matrices, a second measure after CKA.

Kriegeskorte et al. 2008, doi:10.3389/neuro.06.004.2008: Spearman's correlation of the distances of
all pairs of clips in one layer with those in another. Linear CKA follows the few directions of most
variance, and moving a few clips changes it at will (Davari et al. 2022, arXiv:2210.16156); ranks of
distances bound what these can do: four of 60 clips that move far make CKA .99, and RSA .3. No
measure is best everywhere (ReSi, Klabunde et al. 2024, arXiv:2408.00531), so that a finding should
hold by both. Orthogonal Procrustes, the other candidate, takes a singular value decomposition for
each pair of layers. Axes: n clips, L layers.
"""

import torch
from torch import Tensor


def centred_ranks(gram_Lnn: Tensor, *, has_spread_L: Tensor) -> Tensor:
    """The ranks of the distances of all pairs of clips, minus their mean: (L, n (n - 1) / 2).

    From column-centred Grams; zero for layers without spread, whose outputs are the same for every
    clip. Their scalar products, summed over batches, give Spearman's correlation as the U-centred
    Grams give CKA (hsic.py:CkaAccumulator).
    """
    n = gram_Lnn.shape[-1]
    norm_Ln = gram_Lnn.diagonal(dim1=1, dim2=2)
    square_Lnn = norm_Ln[:, :, None] + norm_Ln[:, None, :] - 2 * gram_Lnn
    first_P, second_P = torch.triu_indices(n, n, 1, device=gram_Lnn.device)
    order_LP = square_Lnn[:, first_P, second_P].argsort(dim=1, stable=True)
    rank_LP = order_LP.argsort(dim=1).to(gram_Lnn.dtype)
    return (rank_LP - (len(first_P) - 1) / 2) * has_spread_L[:, None]
