"""Training, its feed, its maps and its idle share on a GPU."""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.gpu import VIEW, noise_batch, small_setup, take_steps
from support.networks import classifier, noise
from support.training import run

from kdbatch.bench.cka.parts import reference_map
from kdbatch.run.cka.cka import compute_cka
from kdbatch.run.data.batch import Batch
from kdbatch.run.data.prefetch import DevicePrefetcher, staging
from kdbatch.run.heartbeat import Stopped
from kdbatch.run.meters.idle_meter import IdleMeter, device_clock

STAGES = ("finetune", "rspnet", "vcop")


@pytest.mark.parametrize("stage", STAGES)
def test_the_feed_gives_the_clips_that_a_cpu_makes(stage: str, device: torch.device) -> None:
    def clips_on(where: torch.device) -> list[torch.Tensor]:
        batches = iter([noise_batch(stage, seed=seed) for seed in range(3)])
        feed = DevicePrefetcher(batches, size_pixels=VIEW.size_pixels, device=where)
        return [clip.cpu() for clip, _ in feed]

    for found, expected in zip(clips_on(device), clips_on(torch.device("cpu")), strict=True):
        # A CPU rounds to whole levels twice; the brightest differ most after normalisation.
        assert (found - expected).abs().max() < 2 / 255 / 0.2 and found.std() > 0.1


def test_later_batches_are_copied_from_pinned_memory_that_earlier_ones_left(
    cuda: torch.device,
) -> None:
    batches = map(staging(cuda), [noise_batch("finetune", seed=seed) for seed in range(12)])
    counts = []
    for _ in DevicePrefetcher(batches, size_pixels=VIEW.size_pixels, device=cuda):
        torch.cuda.synchronize(cuda)
        counts.append(torch.cuda.host_memory_stats()["num_host_alloc"])
    assert counts[-1] == counts[2]


def test_a_run_that_is_stopped_goes_on_from_its_checkpoint(
    tmp_path: Path, device: torch.device
) -> None:
    whole, trained = run(tmp_path / "whole", device=device)
    assert all(torch.isfinite(v).all() for v in whole.values()) and trained.max_memory_gb > 0
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", device=device, stop_at=4)
    resumed, _ = run(tmp_path / "stopped", device=device)
    tolerance = 1e-2 if device.type == "cuda" else 0.0
    for name, value in resumed.items():
        assert torch.allclose(value, whole[name], rtol=tolerance, atol=tolerance), name


KILLED = """
import sys, torch
from pathlib import Path
from support.stand_ins import stand_in_for_videos_and_weights
stand_in_for_videos_and_weights()
from support.training import run
import kdbatch.run.train.train_state as state
state.MIN_SAVE_SECONDS = 0.0
state.SAVE_SHARE = 1e9
run(Path(sys.argv[1]), device=torch.device(sys.argv[2]), poison_at=None)
"""


def test_a_run_that_was_killed_goes_on_from_its_checkpoint(
    tmp_path: Path, device: torch.device
) -> None:
    """The process is killed as soon as there is a checkpoint, wherever it is then."""
    folder, paths = tmp_path / "killed", os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder), str(device)],
        env={**os.environ, "PYTHONPATH": paths},
    )
    deadline = time.monotonic() + 120
    while not (folder / "checkpoint.pt").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "checkpoint.pt").exists()
    whole, _ = run(tmp_path / "whole", device=device)
    resumed, _ = run(folder, device=device)
    tolerance = 1e-2 if device.type == "cuda" else 0.0
    for name, value in resumed.items():
        assert torch.allclose(value, whole[name], rtol=tolerance, atol=tolerance), name


@pytest.mark.parametrize("kind", ["r21d_10", "shufflenet_2x"])
def test_a_map_is_that_of_float64(kind: str, device: torch.device) -> None:
    torch.manual_seed(0)
    model = classifier(kind, width=0.125).to(device).eval()
    clip_BCTHW = noise(16, num_frames=4, size_pixels=32).to(device)
    found = compute_cka(model, None, [clip_BCTHW], layers="res").whole.value_LM
    expected = reference_map(model, clip_BCTHW, layers="res")
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def slowed(seconds: float) -> Iterator[Batch]:
    batch = noise_batch("finetune", seed=0)
    for _ in itertools.count():
        time.sleep(seconds)
        yield batch


def test_a_feed_that_is_three_times_too_slow_leaves_two_thirds_idle(device: torch.device) -> None:
    """A step on a CPU does not run while its batch is read: there the share is three quarters."""
    setup = small_setup("finetune", "shufflenet_2x", device)
    clock = device_clock(device)

    def step_seconds_and_share(delay: float, num_steps: int) -> tuple[float, float]:
        meter, feed = IdleMeter(clock), slowed(delay)
        prefetcher = DevicePrefetcher(feed, size_pixels=VIEW.size_pixels, device=device)
        numbers = take_steps(setup, [next(prefetcher)])
        numbers[0]["loss"].item()
        meter.start()
        for _ in range(num_steps):
            batch = next(prefetcher)
            with meter.step():
                numbers = take_steps(setup, [batch])
        numbers[0]["loss"].item()
        total, idle = meter.read()
        return (total - idle) / num_steps, idle / total

    step_seconds_and_share(0.0, 4)  # the first steps choose algorithms
    work, _ = step_seconds_and_share(0.0, 20)
    work = max(work, 0.02) if device.type == "cpu" else work
    _, share = step_seconds_and_share(3 * work, 20)
    assert share == pytest.approx(0.70, abs=0.15)
