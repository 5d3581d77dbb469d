"""Device prefetcher: copies and augments the next batch while the device runs a step.

Axes: V views, B clips; N bytes.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Protocol

import torch
from torch import Tensor

from kdbatch.run.data.batch import Batch

DeviceBatch = tuple[Tensor, Batch]
"""Augmented clips (V, B, C, T, H, W), and their batch, with its labels on the device too."""

STAGED_BATCHES = 3  # one is being filled, one is full, one is being copied
_SPARE = 1.5  # bytes of a buffer over those of the batch that it is made for: crops vary in size


class Copies(Protocol):
    """Copies to a device that were queued."""

    def synchronize(self) -> object:
        """Wait until they are done."""


class HostRing:
    """Host buffers that batches pass through in turn on their way to a device.

    A host need not wait for a copy from pinned memory, but to pin memory takes longer than a copy.
    So a few buffers are kept: `allocate` makes one of so many bytes. As soon as the copies of a
    batch are queued, `queued` returns what to wait for before its buffer is filled again. Batches
    may be staged by one thread and copied by another.
    """

    def __init__(self, *, allocate: Callable[[int], Tensor], queued: Callable[[], Copies]) -> None:
        self._allocate, self._queued, self._capacity = allocate, queued, 0
        self._free = SimpleQueue[tuple[Tensor | None, Copies | None]]()
        for _ in range(STAGED_BATCHES):
            self._free.put((None, None))

    def stage(self, batch: Batch) -> Batch:
        """The batch in a buffer of the ring. The batch itself where the caller holds all buffers,
        in batches that it has not copied: to wait for them would be a deadlock.
        """
        if batch.memory_N is None:
            return batch
        try:
            buffer_N, copies = self._free.get_nowait()
        except Empty:
            return batch
        if copies is not None:
            copies.synchronize()
        num_bytes = batch.memory_N.numel()
        if buffer_N is None or buffer_N.numel() < num_bytes:
            self._capacity = max(self._capacity, int(_SPARE * num_bytes))
            buffer_N = self._allocate(self._capacity)
        lent = [buffer_N]
        # A second call would fail: the buffer may hold another batch by then.
        staged = batch.in_memory(buffer_N[:num_bytes].copy_(batch.memory_N))
        return replace(staged, on_copied=lambda: self._free.put((lent.pop(), self._queued())))


def staging(device: torch.device) -> Callable[[Batch], Batch]:
    """A function that moves batches to where `device` copies them from: for a GPU, pinned memory
    that is reused. It belongs into the thread that reads, which has time to copy.
    """
    if device.type != "cuda":
        return lambda batch: batch
    ring = HostRing(
        allocate=lambda num_bytes: torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True),
        # A blocking wait leaves the core to other threads.
        queued=lambda: torch.cuda.current_stream(device).record_event(
            torch.cuda.Event(blocking=True)
        ),
    )

    def stage(batch: Batch) -> Batch:
        with torch.cuda.device(device):  # a new thread has the first GPU
            return ring.stage(batch)

    return stage


class DevicePrefetcher:
    """Iterates over `batches` and yields them augmented on the device.

    On a GPU a batch is copied from pinned memory (`staging`) and augmented on a stream of its own,
    while the step before it, which is already queued in the main stream, runs. Ask for the next
    batch before you wait for the result of a step.
    """

    def __init__(self, batches: Iterator[Batch], *, size_pixels: int, device: torch.device) -> None:
        self._batches, self._size_pixels, self._device = batches, size_pixels, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __iter__(self) -> Iterator[DeviceBatch]:
        return self

    def __next__(self) -> DeviceBatch:
        batch = next(self._batches)
        if self._stream is None:
            return self._prepare(batch)
        return self._prepare_on_stream(batch, self._stream)

    def _prepare(self, batch: Batch) -> DeviceBatch:
        """Augment the clips, and release the memory that they were read into. `extra` stays on the
        host: a task copies what it needs.
        """
        clip_VBCTHW = batch.views(size_pixels=self._size_pixels, device=self._device)
        return clip_VBCTHW, batch.without_clips()

    def _prepare_on_stream(self, batch: Batch, stream: torch.cuda.Stream) -> DeviceBatch:
        main = torch.cuda.current_stream(self._device)
        # Pinned, so that a task can copy it to the device without waiting.
        extra = {name: values.pin_memory() for name, values in batch.extra.items()}
        with torch.cuda.stream(stream):
            clip_VBCTHW, without_clips = self._prepare(batch)
            label_B = batch.label_B.pin_memory().to(self._device, non_blocking=True)
        main.wait_stream(stream)
        for tensor in (clip_VBCTHW, label_B):
            # The allocator must not reuse their memory for the next batch while a step reads it.
            tensor.record_stream(main)
        return clip_VBCTHW, replace(without_clips, label_B=label_B, extra=extra)
