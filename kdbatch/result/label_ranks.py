"""Ranks of labels among the values that a network gives to all classes."""

import numpy as np


def label_ranks(value_K: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Ranks of labels: how many classes (last axis) have a higher value.

    Equal values are ranked in label order. `label` has the other axes, or 1 for some.
    """
    label_1 = np.broadcast_to(label, value_K.shape[:-1])[..., None]
    own_1 = np.take_along_axis(value_K, label_1, axis=-1)
    is_earlier_K = np.arange(value_K.shape[-1]) < label_1
    return ((value_K > own_1) | ((value_K == own_1) & is_earlier_K)).sum(-1)
