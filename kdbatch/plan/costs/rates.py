"""The time that work takes on an assumed device: the longer of arithmetic and reading."""

from dataclasses import dataclass, replace
from typing import Protocol

from kdbatch.plan.costs.work import FORWARD_BACKWARD, Work
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone, TrainingSpeed
from kdbatch.vocab.plans.plan import DeviceKind
from kdbatch.vocab.views import View

# For networks of whose kind none was measured: what ShuffleNet reaches when it is fed from shards.
UNMEASURED_GMAC_PER_SECOND = 800.0
UNMEASURED_READING = 540.0  # clips per second, the slower of the two networks that were measured


class Device(Protocol):
    """A device whose speed is assumed where none was measured."""

    @property
    def kind(self) -> DeviceKind: ...

    @property
    def title(self) -> str: ...

    @property
    def step_seconds(self) -> float:
        """The least time of a training step, whatever the size of its batch."""
        ...

    def pass_seconds(self, network: Backbone, view: View) -> float:
        """The time of one clip's forward pass."""
        ...

    def read_seconds(self, network: Backbone | None, view: View) -> float:
        """The time in which one clip is read and decoded for a network."""
        ...


@dataclass(frozen=True)
class H200:
    """One H200 in a machine of 16 cores, at the measured speeds of BACKBONE_SPECS."""

    kind: DeviceKind = "GPU"
    title: str = "one H200 fed from shards"
    step_seconds: float = 0.015

    def pass_seconds(self, network: Backbone, view: View) -> float:
        return _relative_size(network, view) / (FORWARD_BACKWARD * _speed(network).in_memory)

    def read_seconds(self, network: Backbone | None, view: View) -> float:
        reading = _speed(network).from_shards if network else UNMEASURED_READING
        return view.num_frames / 16 / reading


@dataclass(frozen=True)
class CpuCore:
    """One core of a server's CPU, which computes in float32, and reads as well.

    Measured on one core (x86-64 with AVX-512): training steps take `slowdown` times those of an
    H200, 640 for ShuffleNet and 1,400 for R(2+1)D. Narrow networks were within a factor of 2.5 of
    what follows. A core decoded 130 (while others were busy) to 480 clips per second.
    """

    kind: DeviceKind = "CPU"
    title: str = "one core of a CPU"
    step_seconds: float = 0.03
    slowdown: float = 1000.0
    clips_per_second: float = 300.0

    def pass_seconds(self, network: Backbone, view: View) -> float:
        return self.slowdown * H200().pass_seconds(network, view)

    def read_seconds(self, network: Backbone | None, view: View) -> float:
        return view.num_frames / 16 / self.clips_per_second


def seconds_of(work: Work, view: View, network: Backbone | None, *, device: Device) -> float:
    """The device-seconds of `work` on `device`. `network` is the one that is trained or tested."""
    arithmetic = sum(number * device.pass_seconds(of, view) for of, number in work.passes)
    reading = work.clips * device.read_seconds(network, view)
    return max(arithmetic, reading, work.num_steps * device.step_seconds)


def _speed(network: Backbone) -> TrainingSpeed:
    spec = BACKBONE_SPECS[network.kind]
    if spec.speed:
        return spec.speed
    like = BACKBONE_SPECS.get(spec.speed_like)
    if like and like.speed:
        in_memory = like.speed.in_memory * like.gmac_per_clip / spec.gmac_per_clip
        return replace(like.speed, in_memory=in_memory)
    passes = UNMEASURED_GMAC_PER_SECOND / spec.gmac_per_clip
    return TrainingSpeed(in_memory=passes / FORWARD_BACKWARD, from_shards=UNMEASURED_READING)


def _relative_size(network: Backbone, view: View) -> float:
    """The time of a pass in that of a clip of 3x16x112x112 at width 1.

    A narrow network has a share `width`^2 of the multiply-adds, but of the memory traffic, which
    then limits it, a share `width`.
    """
    width = max(network.width, network.width**2)
    return width * (view.num_frames / 16) * (view.size_pixels / 112) ** 2
