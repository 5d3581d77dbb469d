"""CKA by definition, in double precision and with loops: the reference for the fast one.

Axes: n clips, p columns.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor


def gram(map_nC: Tensor) -> np.ndarray:
    """Centred Gram matrix of one layer's map."""
    x_np = map_nC.flatten(1).double().numpy()
    x_np = x_np - x_np.mean(0)
    return x_np @ x_np.T


def hsic_1(k_nn: np.ndarray, l_nn: np.ndarray) -> float:
    """HSIC_1 (Song et al. 2012), element by element."""
    n = len(k_nn)
    trace = sum_k = sum_l = chain = 0.0
    for i in range(n):
        row_k = row_l = 0.0
        for j in range(n):
            if i != j:
                trace += k_nn[i, j] * l_nn[j, i]
                row_k += k_nn[i, j]
                row_l += l_nn[i, j]
        sum_k, sum_l, chain = sum_k + row_k, sum_l + row_l, chain + row_k * row_l
    return float(trace + sum_k * sum_l / ((n - 1) * (n - 2)) - 2 * chain / (n - 2)) / (n * (n - 3))


def slow_cka(batches: Sequence[tuple[Sequence[Tensor], Sequence[Tensor]]]) -> np.ndarray:
    """CKA of all pairs of layers. Each batch is a pair: the maps of network A and those of network
    B. HSIC is averaged over batches before the ratio is taken.
    """
    grams = [([gram(m) for m in maps_a], [gram(m) for m in maps_b]) for maps_a, maps_b in batches]
    num_a, num_b = len(grams[0][0]), len(grams[0][1])
    value_LM = np.zeros((num_a, num_b))
    for i in range(num_a):
        for j in range(num_b):
            cross = np.mean([hsic_1(a[i], b[j]) for a, b in grams])
            own = np.mean([hsic_1(a[i], a[i]) for a, _ in grams]) * np.mean(
                [hsic_1(b[j], b[j]) for _, b in grams]
            )
            value_LM[i, j] = cross / np.sqrt(own)
    return value_LM
