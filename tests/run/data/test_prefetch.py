"""The device prefetcher, and the time that it counts as waiting for data."""

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from support.training import CPU, Noise

from kdbatch.run.data.batches import Batch
from kdbatch.run.data.prefetch import STAGED_BATCHES, DevicePrefetcher, HostRing


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


class LazyDevice:
    """Copies the bytes of a batch as late as it may: when they are waited for."""

    def __init__(self) -> None:
        self.num_allocated, self.sources = 0, list[torch.Tensor]()
        self.copied: dict[int, torch.Tensor] = {}  # by the number of the copy, from 0
        self.ring = HostRing(allocate=self._allocate, queued=self._queued)

    def _allocate(self, num_bytes: int) -> torch.Tensor:
        self.num_allocated += 1
        return torch.zeros(num_bytes, dtype=torch.uint8)

    def copy(self, batch: Batch) -> None:
        assert batch.memory_N is not None and batch.on_copied is not None
        self.sources.append(batch.memory_N)
        batch.on_copied()

    def _queued(self) -> "LateCopy":
        return LateCopy(self, len(self.sources) - 1)


class LateCopy:
    def __init__(self, device: LazyDevice, number: int) -> None:
        self.device, self.number = device, number

    def synchronize(self) -> None:
        self.device.copied[self.number] = self.device.sources[self.number].clone()


def _flat(step: int) -> Batch:
    """A batch of clips in one memory, with a size of its own."""
    batch, side = Noise()[step], 8 + 3 * step % 5
    memory_N = torch.arange(4 * 2 * side * 8 * 3, dtype=torch.int32).add(step).to(torch.uint8)
    clips = [clip.new_empty((2, side, 8, 3)) for clip in batch.clips]
    return replace(batch, clips=clips).in_memory(memory_N)


def test_batches_pass_through_few_buffers_that_are_never_filled_while_they_are_copied() -> None:
    device, batches = LazyDevice(), [_flat(step) for step in range(20)]
    for step, batch in enumerate(batches):
        device.copy(device.ring.stage(batch))
        # Copies of the last batches are still pending: the host did not wait for them.
        assert list(device.copied) == list(range(step + 1 - STAGED_BATCHES))
    assert device.num_allocated == STAGED_BATCHES
    for number, copied_N in device.copied.items():
        expected_N = batches[number].memory_N
        assert expected_N is not None and torch.equal(copied_N, expected_N)


def test_a_staged_batch_gives_the_same_clips() -> None:
    batch = _flat(1)
    staged = LazyDevice().ring.stage(batch)
    assert staged.memory_N is not batch.memory_N
    expected = batch.views(size_pixels=8, device=CPU)
    assert torch.equal(staged.views(size_pixels=8, device=CPU), expected)


def test_a_batch_stays_in_its_own_memory_where_the_caller_holds_all_buffers() -> None:
    ring, batch = LazyDevice().ring, _flat(0)
    held = [ring.stage(batch) for _ in range(STAGED_BATCHES)]
    assert ring.stage(batch) is batch and all(b is not batch for b in held)
