"""The device prefetcher, and the time that it counts as waiting for data."""

import time
from collections.abc import Iterator

import torch
from support.training import CPU, Noise

from kdbatch.run.data.batches import Batch
from kdbatch.run.data.prefetch import DevicePrefetcher


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
