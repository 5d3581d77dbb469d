"""Resamples accuracies over groups of test videos and over seeds.

Axes: R replicates, M runs, N test videos, G groups of test videos.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

NUM_REPLICATES = 10_000  # tail probabilities of 1e-4, which Holm's correction needs
_REPLICATES_AT_ONCE = 1000
CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True, kw_only=True, eq=False)
class Draws:
    """Draws of G groups of videos with replacement, and what runs are right on in each of them.

    `right[run]`, shape (G,), counts the right videos of each group, of which there are `size_G`.
    The sum over the runs of an arm is what is drawn, so that the cost does not grow with the seeds.
    Sums are kept. Draws are not: for runs that were not expected they are made once more.
    """

    seed: int
    size_G: np.ndarray
    right: Mapping[str, np.ndarray]
    num_replicates: int
    expected: set[tuple[str, ...]] = field(default_factory=set)
    _sums: dict[tuple[str, ...], np.ndarray] = field(default_factory=dict)

    def percent(self, runs: Sequence[str]) -> np.ndarray:
        """The mean of some runs, each as often as it is named, in percent, shape (R,)."""
        wanted, none = tuple(runs), ()
        if wanted not in self._sums:
            new = {wanted, *self.expected} - self._sums.keys()
            self.expected.clear()
            right = [np.sum([self.right[run] for run in key], axis=0) for key in new]
            sum_CR = self._draw(np.stack([self.size_G, *right]))
            self._sums.update(zip([none, *new], sum_CR, strict=True))
        drawn_R = np.maximum(self._sums[none], 1)
        return 100 * np.divide(self._sums[wanted], drawn_R, dtype=np.float64) / len(runs)

    def _draw(self, value_CG: np.ndarray) -> np.ndarray:
        """Sum C whole numbers of each group over the groups of each replicate (CR)."""
        num_groups = len(self.size_G)
        is_exact = value_CG.max() * num_groups < 2**24  # in single precision
        value_GC = value_CG.T.astype(np.float32 if is_exact else np.float64)
        rng = np.random.default_rng(self.seed)
        sum_CR = np.empty((len(value_CG), self.num_replicates), value_GC.dtype)
        for first in range(0, self.num_replicates, _REPLICATES_AT_ONCE):
            num_now = min(_REPLICATES_AT_ONCE, self.num_replicates - first)
            drawn_RG = rng.integers(0, num_groups, (num_now, num_groups))
            drawn_RG += num_groups * np.arange(num_now)[:, None]
            count_RG = np.bincount(drawn_RG.ravel(), minlength=num_now * num_groups)
            count_RG = count_RG.reshape(num_now, num_groups).astype(value_GC.dtype)
            sum_CR[:, first : first + num_now] = (count_RG @ value_GC).T
        return sum_CR


@dataclass(frozen=True, kw_only=True)
class Replicates:
    """The replicates of runs in percent, computed when they are asked for; see Draws."""

    draws: Mapping[str, Draws]

    def expect(self, sets: Iterable[Iterable[str]]) -> None:
        """Have the means over these sets of runs computed together, when one is asked for."""
        for runs in map(list, sets):
            if all(run in self.draws for run in runs):
                for draws, own in self._by_draws(runs):
                    draws.expected.add(tuple(own))

    def mean_of(self, runs: Iterable[str]) -> np.ndarray:
        """The mean over some runs, shape (R,)."""
        names = list(runs)
        parts = self._by_draws(names)
        return np.sum([len(own) / len(names) * d.percent(own) for d, own in parts], axis=0)

    def _by_draws(self, runs: Sequence[str]) -> list[tuple[Draws, list[str]]]:
        """The runs of each test set."""
        found: dict[Draws, list[str]] = {}
        for run in runs:
            found.setdefault(self.draws[run], []).append(run)
        return list(found.items())

    def __getitem__(self, run: str) -> np.ndarray:
        return self.mean_of([run])


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """Accuracy of each run in percent, on all videos and on R draws of G groups with replacement.

    All runs share the same draws, so the difference of two runs is a paired difference (Efron &
    Tibshirani 1993, sec. 8 and 13.3).
    """

    accuracy: Mapping[str, float]
    replicates: Replicates
    num_videos: Mapping[str, int]
    num_groups: Mapping[str, int]

    def of(self, runs: Iterable[str]) -> "Resampled":
        """Some of the runs."""
        names = list(runs)
        return Resampled(
            accuracy={run: self.accuracy[run] for run in names},
            replicates=self.replicates,
            num_videos={run: self.num_videos[run] for run in names},
            num_groups={run: self.num_groups[run] for run in names},
        )


def resample(
    correct: Mapping[str, np.ndarray],
    *,
    seed: int,
    groups: Sequence[str] = (),
    all_groups: Sequence[str] = (),
    num_replicates: int = NUM_REPLICATES,
) -> Resampled:
    """Draw bootstrap replicates of the accuracies of M runs.

    `correct[run]`, shape (N,), is true where the run's prediction is right. The order of the N
    videos is the same for all runs. Videos of one of the `groups` (N names; without them each video
    is a group) are drawn together: clips of one scene are not independent (cluster bootstrap,
    Davison & Hinkley 1997, sec. 3.8). A replicate is the share of right videos among those drawn.

    `all_groups` are the sorted names to draw from, where videos of other groups are tested
    elsewhere: two folds that are given the same names and seed have the same draws.
    """
    correct_MN = np.stack([np.asarray(row, dtype=bool) for row in correct.values()])
    right_MG, size_G = _sum_groups(correct_MN, groups, all_groups)
    draws = Draws(
        seed=seed,
        size_G=size_G,
        right=dict(zip(correct, right_MG, strict=True)),
        num_replicates=num_replicates,
    )
    return Resampled(
        accuracy={run: float(100 * correct_MN[m].mean()) for m, run in enumerate(correct)},
        replicates=Replicates(draws=dict.fromkeys(correct, draws)),
        num_videos=dict.fromkeys(correct, int(correct_MN.shape[1])),
        num_groups=dict.fromkeys(correct, int((size_G > 0).sum())),
    )


def _sum_groups(
    correct_MN: np.ndarray, groups: Sequence[str], all_groups: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Right videos of each run and group (MG), and videos of each group (G)."""
    if not groups:
        return correct_MN, np.ones(correct_MN.shape[1], dtype=np.int64)
    names, group_N = np.unique(np.array(groups), return_inverse=True)
    order_N = np.argsort(group_N, kind="stable")
    size_G = np.bincount(group_N)
    first_G = np.cumsum(size_G) - size_G
    right_MG = np.add.reduceat(correct_MN[:, order_N], first_G, axis=1, dtype=np.int32)
    if not all_groups:
        return right_MG, size_G
    place_G = np.searchsorted(np.array(all_groups), names)
    of_all = np.zeros((1 + len(right_MG), len(all_groups)), dtype=np.int32)
    of_all[:, place_G] = np.vstack([size_G[None], right_MG])
    return of_all[1:], of_all[0]


@dataclass(frozen=True, kw_only=True)
class SeedDraws:
    """Errors that training with other seeds may add to replicates.

    A bootstrap over few seeds cannot leave the range of the observed values: an interval of three
    seeds would cover the truth three times in four. The error of their mean is therefore drawn from
    its distribution, Student's t.
    """

    num_replicates: int = NUM_REPLICATES
    quantiles: dict[tuple[tuple[int, ...], float], np.ndarray] = field(default_factory=dict)

    def errors(self, spread: "SeedSpread") -> np.ndarray:
        """Return draws of the error of the mean over the seeds, shape (R,).

        A draw is the standard error of the mean times a value of Student's t. These values are R
        evenly spaced quantiles in random order, and the same for the same seeds, so that a claim, a
        table and a figure give one difference the same interval. One seed gives no estimate of the
        error: the draws are zeros.
        """
        if len(spread.seeds) < 2:
            return np.zeros(self.num_replicates)
        key = spread.seeds, spread.degrees
        if key not in self.quantiles:
            probability = np.linspace(0.5, 1.0, self.num_replicates, endpoint=False)[1::2]
            upper = t_quantile(probability, spread.degrees)
            rng = np.random.default_rng(zlib.crc32(repr(key).encode()))
            self.quantiles[key] = rng.permutation(np.concatenate([-upper, upper]))
        return self.quantiles[key] * spread.deviation / len(spread.seeds) ** 0.5


@dataclass(frozen=True, kw_only=True)
class SeedSpread:
    """Standard deviation of an effect between seeds, estimated with `degrees` of freedom."""

    seeds: tuple[int, ...]
    deviation: float
    degrees: float


def percentile_interval(
    replicates: np.ndarray, *, level: float = CONFIDENCE_LEVEL
) -> tuple[float, float]:
    """Return the bounds between which the middle `level` of the replicates lie."""
    tail = (1 - level) / 2
    low, high = np.quantile(replicates, [tail, 1 - tail])
    return float(low), float(high)


def unseen_differences(num_groups: int, *, num_replicates: int = NUM_REPLICATES) -> np.ndarray:
    """Return replicates of a difference in percent that none of the groups shows, shape (R,).

    The bootstrap of equal numbers has no spread. With probability a, G equal groups exclude a share
    of differing ones above 1 - a^(1/G): about 3/G for 5 % (the rule of three: Hanley & Lippman-Hand
    1983, doi:10.1001/jama.1983.03330370053031). The difference may be on either side.
    """
    tail = (np.arange(num_replicates // 2) + 0.5) / (num_replicates // 2)
    bound = 100 * (1 - tail ** (1 / num_groups))
    return np.random.default_rng(0).permutation(np.concatenate([-bound, bound]))


def wilson_interval(percent: float, num_videos: int, *, z: float = 1.96) -> tuple[float, float]:
    """Return Wilson's interval of an accuracy in percent: never empty, and within 0 to 100.

    Wilson 1927, doi:10.2307/2276774; `z` is its width in standard errors.
    """
    share = percent / 100
    middle = share + z**2 / (2 * num_videos)
    half = z * (share * (1 - share) / num_videos + z**2 / (4 * num_videos**2)) ** 0.5
    scale = 100 / (1 + z**2 / num_videos)
    return (middle - half) * scale, (middle + half) * scale


def t_interval(
    differences: Sequence[float], *, level: float = CONFIDENCE_LEVEL
) -> tuple[float, float] | None:
    """Return Student's interval for the mean of few differences; None for fewer than two."""
    if len(differences) < 2:
        return None
    values = np.asarray(differences, dtype=np.float64)
    quantile = float(t_quantile(1 - (1 - level) / 2, len(values) - 1))
    half = quantile * float(values.std(ddof=1)) / len(values) ** 0.5
    return float(values.mean()) - half, float(values.mean()) + half


def t_quantile(probability: float | np.ndarray, degrees: float) -> np.ndarray:
    """Return quantiles of Student's t for probabilities of at least 1/2; `degrees` is at least 1.

    The distribution function is integrated by the trapezoidal rule over theta = atan(t / sqrt(df)):

    F(t) - 1/2 = integral of cos^(df-1) from 0 to theta / its integral from -pi/2 to pi/2
    (Abramowitz & Stegun 1964, 26.7).
    """
    angle, area = _t_area(degrees)
    theta = np.interp((np.asarray(probability) - 0.5) * 2 * area[-1], area, angle)
    return np.tan(theta) * degrees**0.5


def t_tail(value: float, degrees: float) -> float:
    """Return the probability that Student's t is above `value`."""
    angle, area = _t_area(degrees)
    theta = np.arctan(abs(value) / degrees**0.5)
    upper = 0.5 - 0.5 * float(np.interp(theta, angle, area) / area[-1])
    return upper if value >= 0 else 1 - upper


def _t_area(degrees: float) -> tuple[np.ndarray, np.ndarray]:
    """Angles from 0 to pi/2, and the integral of cos^(df-1) up to each, in units of the step."""
    angle = np.linspace(0.0, np.pi / 2, 20001)
    density = np.cos(angle) ** (degrees - 1)
    return angle, np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
