"""Device prefetcher: copies and augments the next batch while the device runs a step.

Axes: V views, B clips.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from kdbatch.run.data.batch import Batch

DeviceBatch = tuple[Tensor, Batch]
"""Augmented clips (V, B, C, T, H, W), and their batch, with its labels on the device too."""


class DevicePrefetcher:
    """Iterates over `batches` and yields them augmented on the device.

    On a GPU a batch is copied from pinned memory and augmented on a stream of its own, while the
    step before it, which is already queued in the main stream, runs. Ask for the next batch before
    you wait for the result of a step.
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
        return clip_VBCTHW, replace(batch, clips=[], memory_N=None)

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
