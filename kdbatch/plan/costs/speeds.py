"""How much longer finished runs took than was assumed, by what their speed depends on."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

Key = tuple[object, ...]
"""The properties that runs of similar speed have in common."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A finished run on `device`: device-seconds that were assumed for it and that it took.

    `took_training` is 0 where the training of the run was not timed by itself.
    """

    device: str
    assumed_training: float
    assumed_other: float
    took_training: float
    took: float


@dataclass(frozen=True, kw_only=True)
class MeasuredSpeed:
    """`factor` times the assumed seconds, and `fixed_seconds` for each run, on `device`."""

    factor: float
    fixed_seconds: float
    num_runs: int
    device: str

    def seconds(self, assumed: float) -> float:
        return assumed * self.factor + self.fixed_seconds


def measured_speeds(observed: Iterable[tuple[Key, Observation]]) -> Mapping[Key, MeasuredSpeed]:
    """The speed of each key, on the device that most of its runs were on."""
    groups: dict[Key, list[Observation]] = defaultdict(list)
    for key, observation in observed:
        groups[key].append(observation)
    return {key: _speed(group) for key, group in groups.items()}


def _speed(group: list[Observation]) -> MeasuredSpeed:
    devices = [observation.device for observation in group]
    device = max(dict.fromkeys(devices), key=devices.count)
    group = [observation for observation in group if observation.device == device]
    timed = [observation for observation in group if observation.took_training]
    if not timed:  # no training to tell the rate of work from what a run takes anyway
        assumed = sum(each.assumed_training + each.assumed_other for each in group)
        factor = sum(each.took for each in group) / assumed
        return MeasuredSpeed(factor=factor, fixed_seconds=0.0, num_runs=len(group), device=device)
    factor = sum(each.took_training for each in timed) / sum(
        each.assumed_training for each in timed
    )
    fixed = median(each.took - each.took_training - factor * each.assumed_other for each in timed)
    return MeasuredSpeed(
        factor=factor, fixed_seconds=max(0.0, fixed), num_runs=len(timed), device=device
    )
