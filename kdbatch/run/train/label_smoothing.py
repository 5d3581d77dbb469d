"""Smooths labels until they are as uncertain as the teachers' predictions.

A student of these labels shows how much of a gain comes from softer targets alone.
Axes: B clips, K classes.
"""

import torch
from torch import Tensor

from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup

_HALVINGS = 40  # of the interval from 0 to 1: an error below 1e-12


def smoothed_labels(
    label_B: Tensor, *, like_BK: Tensor, group: ProcessGroup = SINGLE_PROCESS
) -> tuple[Tensor, Tensor]:
    """Labels (B, K), smoothed to the mean entropy of the distributions `like_BK`, and the share e.

    The label's class has 1 - e + e / K, every other class e / K (Szegedy et al. 2016,
    arXiv:1512.00567, sec. 7). One e for all clips of a batch, over all ranks: neither the classes
    that a teacher takes for similar nor the clips that it is unsure of are left. Nothing here waits
    for the device.
    """
    num_classes = like_BK.shape[1]
    entropy = torch.special.entr(like_BK.detach().double()).sum(1).mean()
    share = smoothing_of_entropy(group.all_reduce_mean(entropy), num_classes)
    target_BK = (share / num_classes).expand(len(label_B), num_classes).clone()
    target_BK.scatter_add_(1, label_B[:, None], (1 - share).expand(len(label_B), 1))
    return target_BK.to(like_BK.dtype), share


def smoothing_of_entropy(entropy: Tensor, num_classes: int) -> Tensor:
    """The share e at which smoothed labels of K classes have this entropy (nats), by bisection:
    their entropy rises with e from 0 to log K. Both are scalars, float64.
    """
    low, high = torch.zeros_like(entropy), torch.ones_like(entropy)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        of_others = torch.special.entr(middle / num_classes) * (num_classes - 1)
        found = torch.special.entr(1 - middle + middle / num_classes) + of_others
        low = torch.where(found < entropy, middle, low)
        high = torch.where(found < entropy, high, middle)
    return (low + high) / 2
