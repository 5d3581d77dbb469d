"""RSA and CKA of feature matrices equal brute force, and `compare` pools RSA over batches."""

import math

import numpy as np
import pytest
import torch

import kdbatch
from kdbatch.base.errors import UserError
from kdbatch.run.cka.cka import MapSums


def features(seed: int, num: int, dim: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num, dim)) * np.arange(1, dim + 1)


def slow_rsa(a_ND: np.ndarray, b_NE: np.ndarray) -> float:
    """Spearman's correlation of the distances of all pairs, by loops."""
    ranks = []
    for x in (a_ND, b_NE):
        pairs = [(i, j) for i in range(len(x)) for j in range(i + 1, len(x))]
        apart = [math.dist(x[i], x[j]) for i, j in pairs]
        ranks.append([sum(other < own for other in apart) for own in apart])
    (p, q), n = ranks, len(ranks[0])
    mean = (n - 1) / 2
    cov = sum((x - mean) * (y - mean) for x, y in zip(p, q, strict=True))
    return cov / sum((x - mean) ** 2 for x in p)


def slow_cka(a_ND: np.ndarray, b_NE: np.ndarray) -> float:
    """The unbiased HSIC by sums over all quadruples of different samples, Song et al. 2012."""

    def hsic(k: np.ndarray, m: np.ndarray) -> float:
        n, total = len(k), 0.0
        for i in range(n):
            for j in range(n):
                if i == j:
                    continue
                total += k[i, j] * m[i, j]
        one = total
        two = sum(
            k[i, j] * m[i, q]
            for i in range(n)
            for j in range(n)
            for q in range(n)
            if len({i, j, q}) == 3
        )
        four = sum(
            k[i, j] * m[q, r]
            for i in range(n)
            for j in range(n)
            for q in range(n)
            for r in range(n)
            if len({i, j, q, r}) == 4
        )
        p2, p3 = n * (n - 1), n * (n - 1) * (n - 2)
        return one / p2 + four / (p3 * (n - 3)) - 2 * two / p3

    k, m = a_ND @ a_ND.T, b_NE @ b_NE.T
    return hsic(k, m) / math.sqrt(hsic(k, k) * hsic(m, m))


def test_both_equal_brute_force() -> None:
    a_ND, b_NE = features(0, 8, 5), features(1, 8, 3)
    b_NE[:, 0] += a_ND[:, 4]
    assert kdbatch.cka(a_ND, b_NE) == pytest.approx(slow_cka(a_ND, b_NE), abs=1e-9)
    assert kdbatch.rsa(a_ND, b_NE) == pytest.approx(slow_rsa(a_ND, b_NE), abs=1e-12)
    mixed = torch.from_numpy(a_ND), b_NE
    assert kdbatch.rsa(*mixed) == kdbatch.rsa(a_ND, b_NE)


@pytest.mark.parametrize("measure", [kdbatch.cka, kdbatch.rsa])
def test_rotations_scales_and_shifts_change_nothing(measure) -> None:
    a_ND = features(2, 40, 6)
    rotation, _ = np.linalg.qr(features(3, 6, 6))
    assert measure(a_ND, 3 * a_ND @ rotation + 7) == pytest.approx(1.0, abs=1e-6)
    assert measure(a_ND, np.ones((40, 2))) == 0.0


@pytest.mark.parametrize("measure", [kdbatch.cka, kdbatch.rsa])
def test_independent_features_are_not_similar(measure) -> None:
    found = [measure(features(s, 60, 50), features(s + 100, 60, 50)) for s in range(12)]
    assert abs(float(np.mean(found))) < 0.02


def test_a_few_samples_far_away_decide_cka_and_not_rsa() -> None:
    """Davari et al. 2022, arXiv:2210.16156: why one measure is not enough."""
    a_ND, b_NE = features(4, 60, 5), features(5, 60, 5)
    far_a, far_b = a_ND.copy(), b_NE.copy()
    far_a[:4] += 1e4
    far_b[:4] += 1e4
    assert abs(kdbatch.cka(a_ND, b_NE)) < 0.1 and abs(kdbatch.rsa(a_ND, b_NE)) < 0.1
    assert kdbatch.cka(far_a, far_b) > 0.98 and 0.2 < kdbatch.rsa(far_a, far_b) < 0.4


def test_maps_pool_the_ranks_of_batches_of_one_size() -> None:
    sums, slow = MapSums(), []
    for batch in range(3):
        a_ND, b_NE = features(batch, 10, 4), features(batch + 9, 10, 4)
        b_NE[:, 3] += 2 * a_ND[:, 3]
        centred = [torch.from_numpy(x - x.mean(0)) for x in (a_ND, b_NE)]
        sums.add([(x @ x.T)[None] for x in centred])
        slow.append(slow_rsa(a_ND, b_NE))
    assert float(sums.result().rsa_LM[0, 0]) == pytest.approx(float(np.mean(slow)), abs=1e-12)


@pytest.mark.parametrize(
    ("a_ND", "b_NE", "message"),
    [
        (np.ones((5, 2)), np.ones((6, 2)), r"found matrices of \(5, 2\) and \(6, 2\)"),
        (np.ones(5), np.ones(5), "Give two of"),
        (np.ones((3, 2)), np.ones((3, 2)), "found 3 samples. Give at least 4"),
        (np.full((5, 2), np.nan), np.ones((5, 2)), "found NaN or infinity"),
    ],
)
def test_matrices_that_do_not_fit_are_refused(a_ND, b_NE, message: str) -> None:
    for measure in (kdbatch.cka, kdbatch.rsa):
        with pytest.raises(UserError, match=message):
            measure(a_ND, b_NE)
