"""Seeded random generators: every draw is a pure function of a seed and the name of its purpose.

No draw depends on how many numbers were drawn before it, so a run that is resumed at any step draws
the same numbers as an uninterrupted run. The seed is the run's own seed, not its id: a student and
its labels-only control start from the same weights and see the same clips in the same order.
"""

import hashlib

import numpy as np


def seed_for(seed: int, *names: str | int) -> int:
    """A 63-bit seed for the purpose that is given by `names`."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def rng_for(seed: int, *names: str | int) -> np.random.Generator:
    """A generator for the purpose that is given by `names`."""
    return np.random.default_rng(seed_for(seed, *names))


def balanced_labels(num_labels: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """`size` labels in random order, with counts that are equal to within one.

    Which labels occur once more than others is random.
    """
    rounds = [rng.permutation(num_labels) for _ in range(-(-size // num_labels))]
    return rng.permutation(np.concatenate(rounds)[:size])
