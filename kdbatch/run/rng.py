"""Chance is passed in: every draw is a pure function of a seed and the names of what it is for.

Nothing depends on how many numbers were drawn before, so a run that is resumed at any step draws
what it would have drawn. The seed is the run's own seed, not its id: a student and its labels-only
control then see the same clips in the same order from the same weights.
"""

import hashlib

import numpy as np


def seed_for(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the purpose that `names` spell."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng_for(seed: int, *names: str | int) -> np.random.Generator:
    """A generator for the purpose that `names` spell."""
    return np.random.default_rng(seed_for(seed, *names))


def balanced_labels(num_labels: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """`size` labels in random order, each equally often to within one; chance says which of them
    come once more.
    """
    rounds = [rng.permutation(num_labels) for _ in range(-(-size // num_labels))]
    return rng.permutation(np.concatenate(rounds)[:size])
