"""The share of a training in which the device was idle, on a simulated device and for real."""

import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from support.training import TOTAL, Net, Noise, run

from kdbatch.run.meters.idle_meter import IdleMeter
from kdbatch.run.meters.nvml import SAMPLE_SECONDS, GpuUtilisation
from kdbatch.run.train.train_state import TrainState


@dataclass
class SimulatedGpu:
    """A device that begins what is launched at once, or when it is done with what was launched
    before; `now` is the time of the host.
    """

    now: float = 0.0
    free_at: float = 0.0

    def launch(self, seconds: float) -> None:
        self.free_at = max(self.free_at, self.now) + seconds

    def mark(self) -> float:
        return max(self.free_at, self.now)

    def seconds(self, earlier: float, later: float) -> float:
        return later - earlier

    def is_past(self, moment: float) -> bool:
        return moment <= self.now

    def hold(self, seconds: float) -> None:
        self.launch(seconds)

    def synchronize(self) -> None:
        self.now = max(self.now, self.free_at)


def idle_share(
    *, feed: float, host: float, device: float, steps: int = 96, launches: int = 10
) -> float:
    """The measured share of steps of `launches` kernels, which take the host and the device so many
    seconds each; before each step the host reads for `feed` seconds. Numbers are read after each
    16 steps, as in training.
    """
    gpu = SimulatedGpu()
    meter = IdleMeter(gpu, host_time=lambda: gpu.now)
    total = idle = 0.0
    for number in range(steps):
        gpu.now += feed
        with meter.step():
            for _ in range(launches):
                gpu.now += host
                gpu.launch(device)
        if number % 16 == 15:
            gpu.synchronize()
            seconds, waited = meter.read()
            if number > 16:  # the first periods are those in which the work is measured
                total, idle = total + seconds, idle + waited
            meter.start()
    return idle / total


@pytest.mark.parametrize(
    ("feed", "host", "device", "share"),
    [
        (0.0, 0.0001, 0.001, 0.0),  # the device is the slower one
        (0.03, 0.0, 0.001, 2 / 3),  # 10 ms of work; the next batch takes 30 ms
        (0.02, 0.0, 0.001, 1 / 2),
        (0.0, 0.001, 0.0002, 0.8),  # launches: 2 ms of work in 10 ms
        (0.01, 0.001, 0.0002, 0.9),  # and the feed
    ],
)
def test_the_share_is_that_of_the_time_without_work_for_the_device(
    feed: float, host: float, device: float, share: float
) -> None:
    assert idle_share(feed=feed, host=host, device=device) == pytest.approx(share, abs=0.02)


def test_what_a_pause_takes_belongs_to_no_step() -> None:
    gpu = SimulatedGpu()
    meter = IdleMeter(gpu, host_time=lambda: gpu.now)
    with meter.step():  # the first step compiles
        gpu.launch(9.0)
    gpu.synchronize()
    gpu.now += 5.0
    meter.start()
    with meter.step():
        gpu.launch(3.0)
    gpu.synchronize()
    gpu.now += 1.0
    assert meter.read() == pytest.approx((4.0, 1.0))


class SlowNet(Net):
    """Its forward pass takes `SECONDS` more."""

    SECONDS = 0.03

    def forward(self, clip: torch.Tensor) -> torch.Tensor:
        time.sleep(self.SECONDS)
        return super().forward(clip)


def test_a_slowed_feed_shows_in_the_curves_and_in_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch comes 3 times as late as a step is long: about three quarters of the time. The true
    share lies between that of the feed and that of all but the networks.
    """
    read, fed = Noise.__getitem__, 0.0

    def slowly(source: Noise, step: int) -> object:
        nonlocal fed
        began = time.perf_counter()
        time.sleep(3 * SlowNet.SECONDS)
        fed += time.perf_counter() - began
        return read(source, step)

    monkeypatch.setattr(Noise, "__getitem__", slowly)
    _, trained = run(tmp_path, net=SlowNet)
    least, most = fed / trained.seconds, 1 - TOTAL * SlowNet.SECONDS / trained.seconds
    assert 100 * least - 1 < trained.idle_percent < 100 * most + 1
    assert trained.idle_percent > 40
    points = [point for point in trained.curves if point.name == "idle_share"]
    assert [(point.step, point.unit) for point in points] == [
        (step, "percent") for step in (3, 6, TOTAL)
    ]


def test_a_quick_feed_leaves_the_device_idle_for_little(tmp_path: Path) -> None:
    _, trained = run(tmp_path, net=SlowNet)
    assert trained.idle_percent <= 100 * (1 - TOTAL * SlowNet.SECONDS / trained.seconds) + 1


def test_a_checkpoint_of_an_older_version_has_no_utilisation() -> None:
    plain = TrainState(step=3, waited=1.5).to_plain()
    del plain["utilisation"]
    assert TrainState.from_plain(plain) == TrainState(step=3, waited=1.5)


def test_utilisation_is_asked_for_now_and_then_until_nvml_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, answers = [0.0], [40, 60]

    def utilisation(device: torch.device) -> int:
        if not answers:
            raise ModuleNotFoundError("pynvml does not seem to be installed")
        return answers.pop(0)

    monkeypatch.setattr(torch.cuda, "utilization", utilisation)
    assert GpuUtilisation(torch.device("cpu")).sample() is None and len(answers) == 2
    meter = GpuUtilisation(torch.device("cuda"), clock=lambda: now[0])
    found = []
    for _ in range(5):
        found += [meter.sample(), meter.sample()]
        now[0] += SAMPLE_SECONDS
    assert found == [40.0, None, 60.0, *[None] * 7]
