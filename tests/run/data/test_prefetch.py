"""The device prefetcher, and the time that it counts as waiting for data."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from support.training import CPU, Noise, run

from kdbatch.run.data.batches import Batch
from kdbatch.run.data.prefetch import DevicePrefetcher
from kdbatch.run.heartbeat import Stopped


def _late(seconds: float) -> Iterator[Batch]:
    for step in range(3):
        time.sleep(seconds)
        yield Noise()[step]


def test_a_batch_comes_augmented_with_its_labels_and_without_its_bytes() -> None:
    prefetcher = DevicePrefetcher(iter([Noise()[0], Noise()[1]]), size_pixels=8, device=CPU)
    step = -1
    for step, (clip_VBCTHW, batch) in enumerate(prefetcher):
        whole = Noise()[step]
        assert torch.equal(
            clip_VBCTHW, whole.views(size_pixels=8, device=CPU)
        ) and clip_VBCTHW.shape == (1, 4, 3, 2, 8, 8)
        assert (
            batch.keys == whole.keys
            and batch.augment_params == whole.augment_params
            and torch.equal(batch.label_B, whole.label_B)
        )
        assert batch.clips == [] and batch.memory_N is None
    assert step == 1 and next(prefetcher, None) is None


def test_parts_of_a_batch_keep_what_belongs_to_their_videos() -> None:
    batch = Noise()[0]
    part = batch.select_videos(slice(1, 3))
    assert (
        part.keys == ["b", "c"]
        and part.label_B.tolist() == batch.label_B.tolist()[1:3]
        and part.augment_params == batch.augment_params[1:3]
    )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_gets_the_clips_that_a_cpu_makes() -> None:
    device = torch.device("cuda")
    for (clip, batch), (expected, _) in zip(
        DevicePrefetcher(_late(0.0), size_pixels=6, device=device),
        DevicePrefetcher(_late(0.0), size_pixels=6, device=CPU),
        strict=True,
    ):
        assert clip.is_cuda and batch.label_B.is_cuda
        assert (
            clip.cpu() - expected
        ).abs().max() < 2 / 255 / 0.2  # a CPU rounds to whole levels twice


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_training_on_a_gpu_learns_stops_and_goes_on(tmp_path: Path) -> None:
    device = torch.device("cuda")
    whole, trained = run(tmp_path / "whole", device=device)
    assert all(torch.isfinite(v).all() for v in whole.values()) and trained.max_memory_gb > 0
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", device=device, stop_at=4)
    resumed, _ = run(tmp_path / "stopped", device=device)
    assert all(torch.allclose(v, whole[name], rtol=1e-2, atol=1e-2) for name, v in resumed.items())
