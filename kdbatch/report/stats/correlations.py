"""Correlates the block index of maps with the accuracy of their networks, over cases.

Axis: N maps, each of one case, averaged over seeds.
"""

import numpy as np

from kdbatch.base.text import plural
from kdbatch.report.data.study import matching_cells
from kdbatch.report.stats.bootstrap import NUM_REPLICATES, percentile_interval, t_quantile
from kdbatch.report.stats.comparisons import Comparison
from kdbatch.report.stats.contrasts import ClaimRoles


def correlate_maps(roles: ClaimRoles) -> Comparison | None:
    """Return the correlation of fewer blocks with a higher accuracy, or None while a run is not
    done.

    Its replicates are those of Fisher's z = artanh(r), with the errors that z has where there is no
    correlation: there r * sqrt(d / (1 - r^2)) is Student's t with d = N - 2 degrees of freedom
    (Fisher 1915, doi:10.2307/2331838), so z is arsinh(t / sqrt(d)). The usual normal errors of
    1 / sqrt(N - 3) are too small in the tails that a correction for many claims asks for. Each
    group within which it is taken, after the first, counts as one map less (Fisher 1924, Metron 3).
    Maps of networks that share a teacher are taken for independent.
    """
    points = [_point(roles, case) for case in _mapped_cases(roles)]
    if not points or any(point is None for point in points):
        return None
    found = [point for point in points if point is not None]
    groups = [group for group, _, _, _ in found]
    blocks_N = _within([blocks for _, blocks, _, _ in found], groups)
    accuracy_N = _within([accuracy for _, _, accuracy, _ in found], groups)
    degrees = len(found) - 2 - (len(set(groups)) - 1)
    scale = float((blocks_N**2).sum() * (accuracy_N**2).sum()) ** 0.5
    effect = -float((blocks_N * accuracy_N).sum()) / scale if scale else 0.0
    replicates_R = _replicates(effect, degrees) if degrees > 1 and scale else None
    low, high = (None, None) if replicates_R is None else percentile_interval(replicates_R)
    return Comparison(
        label=f"fewer blocks with higher accuracy, over {plural(len(found), 'map')}",
        effect=effect,
        low=low,
        high=high,
        num_videos=0,
        num_seeds=min(num_seeds for _, _, _, num_seeds in found),
        replicates_R=replicates_R,
        sides=(_run_ids(roles),),
    )


def _run_ids(roles: ClaimRoles) -> tuple[str, ...]:
    """The maps, and the runs whose accuracy is compared with them."""
    runs: list[str] = []
    for name, case in _mapped_cases(roles):
        arms = roles.arms(roles.claim.who, case, metric=roles.claim.metric)
        for arm in (roles.map_arm(name, metric="block_index"), *arms):
            runs += arm.runs.values()
    return tuple(dict.fromkeys(runs))


def _mapped_cases(roles: ClaimRoles) -> list[tuple[str, dict[str, str]]]:
    """The maps of the role alone, by id, with the cases that the claim is about."""
    at = roles.claim.at.items()
    return [
        (drawn.id, drawn.at)
        for drawn in roles.record.maps
        if drawn.models == (roles.claim.who,)
        and not drawn.untrained
        and all(drawn.at.get(axis) == value for axis, value in at)
    ]


def _point(
    roles: ClaimRoles, mapped: tuple[str, dict[str, str]]
) -> tuple[str, float, float, int] | None:
    """The group of a map, its block index, the accuracy of its network, and their seeds."""
    name, case = mapped
    blocks = roles.map_arm(name, metric="block_index")
    network = roles.arms(roles.claim.who, case, metric=roles.claim.metric)[0]  # the map's fold
    if not (blocks.is_complete and network.is_complete):
        return None
    num_seeds = len(matching_cells(roles.record, f"map:{name}", {}))
    return case.get(roles.claim.axis, ""), blocks.mean, network.mean, num_seeds


def _within(values: list[float], groups: list[str]) -> np.ndarray:
    """The values less the mean of their group."""
    group_N = np.unique(np.array(groups), return_inverse=True)[1]
    value_N = np.array(values)
    return value_N - (np.bincount(group_N, weights=value_N) / np.bincount(group_N))[group_N]


def _replicates(effect: float, degrees: int) -> np.ndarray:
    """Evenly spaced quantiles of the correlation, shape (R,)."""
    upper = t_quantile(1 - (np.arange(NUM_REPLICATES // 2) + 0.5) / NUM_REPLICATES, degrees)
    error_R = np.arcsinh(np.concatenate([-upper, upper[::-1]]) / degrees**0.5)
    centre = np.arctanh(np.clip(effect, -0.999999, 0.999999))
    return np.tanh(centre + error_R)
