"""How far a map's numbers would go with other clips. Axes: n clips of a batch, m = n / 2 of them, S
halves, L layers.

The delete-half jackknife (Shao and Wu 1989, "A general theory for jackknife variance estimation",
Annals of Statistics 17): everything is measured again on random halves of the clips, and the
variance of a number on all of them is that of its values on the halves, since (n - d) / d is 1
where d = n / 2 clips are left out. A bootstrap would draw clips twice, and a clip is more like
itself than like others: HSIC_1 leaves out the pairs i = i for that reason, and would not know of
the new ones.
"""

import numpy as np
import torch
from torch import Tensor

from kdbatch.run.cka.hsic import MIN_CLIPS

NUM_HALVES = 40  # a standard deviation from 40 values is good to 11 %
NORMAL_95 = 1.96


def random_halves(num_clips: int, *, rng: np.random.Generator) -> Tensor:
    """Places of clips in a batch, (S, m): both halves of random cuts, so that every clip counts
    equally often. Of an odd number of clips one stays out of both. None, (0, m), where a half is
    too small for the unbiased estimate.

    All batches are cut alike: which clips stand together is drawn by chance already, and what two
    batches say is independent.
    """
    half = num_clips // 2
    if half < MIN_CLIPS:
        return torch.empty((0, half), dtype=torch.long)
    orders = [rng.permutation(num_clips) for _ in range(NUM_HALVES // 2)]
    return torch.from_numpy(
        np.array(
            [np.sort(part) for order in orders for part in (order[:half], order[half : 2 * half])]
        )
    )


def half_gram(gram_Lnn: Tensor, half_m: Tensor) -> Tensor:
    """Column-centred Grams of a half, (L, m, m), from those of the whole batch, whose columns still
    have a mean over the half.
    """
    part_Lmm = gram_Lnn[:, half_m][:, :, half_m]
    mean_L1m = part_Lmm.mean(1, keepdim=True)
    return part_Lmm - mean_L1m - mean_L1m.mT + mean_L1m.mean(2, keepdim=True)


def jackknife_intervals(numbers: dict[str, float], of_halves: list[dict[str, float]]) -> dict[str, float]:
    """`name_low` and `name_high`, a 95 % interval by the normal law, for each number that was
    measured on the halves.
    """
    found = {}
    for name in of_halves[0] if of_halves else ():
        reach = NORMAL_95 * float(np.std([half[name] for half in of_halves]))
        found |= {f"{name}_low": numbers[name] - reach, f"{name}_high": numbers[name] + reach}
    return found
