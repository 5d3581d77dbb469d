"""`kdbatch.cka` and `kdbatch.rsa`: the similarity of two matrices of features."""

import numpy as np
import torch
from torch import Tensor

from kdbatch.base.errors import UserError
from kdbatch.run.cka.hsic import MIN_CLIPS, CkaAccumulator, u_centred
from kdbatch.run.cka.rsa import centred_ranks

Features = np.ndarray | Tensor


def cka(a_ND: Features, b_NE: Features) -> float:
    """Linear CKA of two feature matrices, (N, D) and (N, E), by the unbiased HSIC.

    Rows are the same N samples in both, at least 4. 1 for features that are equal up to a rotation,
    a scale and a shift, about 0 for independent ones, and 0 where one of them is the same for all
    samples. `kdbatch` computes its maps in batches; this is one batch of all samples.

    Raises:
        UserError: the matrices do not fit, or have NaN or infinity.
    """
    rows = [u_centred(gram_1nn) for gram_1nn in _grams(a_ND, b_NE)]
    return _similarity(rows)


def rsa(a_ND: Features, b_NE: Features) -> float:
    """RSA of two feature matrices, (N, D) and (N, E): Spearman's correlation of their distances.

    Rows are the same N samples in both, at least 4. 1 where the pairs of samples have the same
    order of Euclidean distances, about 0 for independent features.

    Raises:
        UserError: the matrices do not fit, or have NaN or infinity.
    """
    grams = _grams(a_ND, b_NE)
    rows = [centred_ranks(g, has_spread_L=u_centred(g).any(1)) for g in grams]
    return _similarity(rows)


def _similarity(rows: list[Tensor]) -> float:
    sums = CkaAccumulator()
    sums.add(*rows)
    return float(sums.result()[0, 0])


def _grams(*features: Features) -> list[Tensor]:
    """The column-centred Gram (1, N, N) of each matrix, float64."""
    shapes = [tuple(matrix.shape) for matrix in features]
    if any(len(shape) != 2 for shape in shapes) or shapes[0][0] != shapes[1][0]:
        raise UserError(
            f"features: found matrices of {shapes[0]} and {shapes[1]}. Give two of (samples, "
            "features) with the same samples."
        )
    if shapes[0][0] < MIN_CLIPS:
        raise UserError(f"features: found {shapes[0][0]} samples. Give at least {MIN_CLIPS}.")
    grams = []
    for matrix in features:
        x_ND = torch.as_tensor(matrix).detach().double()
        if not bool(x_ND.isfinite().all()):
            raise UserError("features: found NaN or infinity. Leave these samples out of both.")
        x_ND = x_ND - x_ND.mean(0)
        grams.append((x_ND @ x_ND.T)[None])
    return grams
