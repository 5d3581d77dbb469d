"""Intervals of a map's numbers over the choice of clips, by the delete-half jackknife.

Axes: n clips of a batch, m = n / 2 of them, S halves, L layers.

The delete-half jackknife (Shao and Wu 1989, "A general theory for jackknife variance estimation",
Annals of Statistics 17): everything is measured again on random halves of the clips, and the
variance of a number on all of them is that of its values on the halves, since (n - d) / d is 1
where d = n / 2 clips are left out. A bootstrap would draw clips twice, and a clip is more like
itself than like others: HSIC_1 leaves out the pairs i = i for that reason, but could not leave out
pairs of copies.
"""

import numpy as np
import torch
from torch import Tensor

from kdbatch.run.cka.hsic import MIN_CLIPS

NUM_HALVES = 40  # a standard deviation from 40 values is good to 11 %
NORMAL_95 = 1.96


def random_halves(num_clips: int, *, rng: np.random.Generator) -> Tensor:
    """Positions of clips in a batch, (S, m): both halves of random cuts.

    So every clip counts equally often. Where the number of clips is odd, one is in neither half.
    There are no rows, (0, m), where a half is too small for the unbiased estimate. All batches are
    cut alike: their clips are in a random order already, and the errors of two batches are
    independent.
    """
    half = num_clips // 2
    if half < MIN_CLIPS:
        return torch.empty((0, half), dtype=torch.long)
    orders = [rng.permutation(num_clips) for _ in range(NUM_HALVES // 2)]
    halves = []
    for order in orders:
        halves += [np.sort(order[:half]), np.sort(order[half : 2 * half])]
    return torch.from_numpy(np.array(halves))


def half_gram(gram_Lnn: Tensor, half_m: Tensor) -> Tensor:
    """Column-centred Grams of a half, (L, m, m), from those of the whole batch.

    Columns that are centred over the batch still have a mean over the half.
    """
    part_Lmm = gram_Lnn[:, half_m][:, :, half_m]
    mean_L1m = part_Lmm.mean(1, keepdim=True)
    return part_Lmm - mean_L1m - mean_L1m.mT + mean_L1m.mean(2, keepdim=True)


def jackknife_intervals(
    numbers: dict[str, float], of_halves: list[dict[str, float]]
) -> dict[str, float]:
    """`name_low` and `name_high`, a 95 % normal interval, of each number measured on the halves."""
    bounds = {}
    for name in of_halves[0] if of_halves else ():
        reach = NORMAL_95 * float(np.std([half[name] for half in of_halves]))
        bounds |= {f"{name}_low": numbers[name] - reach, f"{name}_high": numbers[name] + reach}
    return bounds
