"""Batches as the device wants them: on it, augmented, and one ahead of the step that is under way.
Axes: V views, B clips.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from kdbatch.run.data.batch import Batch

DeviceBatch = tuple[Tensor, Batch]
"""Augmented clips (V, B, C, T, H, W), and the batch that they are of, with its labels on the device
too.
"""


class DevicePrefetcher:
    """Iterates over `batches`; `waited_seconds` is for how long the device had nothing to do
    because a batch was still being read.

    On a GPU a batch is copied and augmented on a stream of its own, from pinned memory: the step
    before it, which was put into the main stream already, goes on meanwhile. Ask for the next batch
    before you wait for the result of a step.
    """

    def __init__(self, batches: Iterator[Batch], *, size_pixels: int, device: torch.device) -> None:
        self._batches, self._size_pixels, self._device = batches, size_pixels, device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.data_wait_seconds = 0.0

    def __iter__(self) -> Iterator[DeviceBatch]:
        return self

    def __next__(self) -> DeviceBatch:
        batch = self._read_next()
        return (
            self._prepare(batch)
            if self._stream is None
            else self._prepare_on_stream(batch, self._stream)
        )

    def _read_next(self) -> Batch:
        """The next batch. On a GPU waiting counts only if the device had run out of work when it
        was over; then all of it does.
        """
        busy = None
        if self._stream is not None:
            busy = torch.cuda.Event()
            busy.record(torch.cuda.current_stream(self._device))
        began = time.monotonic()
        batch = next(self._batches)
        if busy is None or busy.query():
            self.data_wait_seconds += time.monotonic() - began
        return batch

    def _prepare(self, batch: Batch) -> DeviceBatch:
        """The bytes that the clips were read into are given back. Numbers stay on the host, from
        where who needs them fetches them.
        """
        clip_VBCTHW = batch.views(size_pixels=self._size_pixels, device=self._device)
        return clip_VBCTHW, replace(batch, clips=[], memory_N=None)

    def _prepare_on_stream(self, batch: Batch, stream: torch.cuda.Stream) -> DeviceBatch:
        main = torch.cuda.current_stream(self._device)
        extra = {
            name: values.pin_memory() for name, values in batch.extra.items()
        }  # can be fetched without a wait
        with torch.cuda.stream(stream):
            clip_VBCTHW, moved = self._prepare(batch)
            label_B = batch.label_B.pin_memory().to(self._device, non_blocking=True)
        main.wait_stream(stream)
        for tensor in (clip_VBCTHW, label_B):
            tensor.record_stream(
                main
            )  # their memory is not given to the next batch while a step still reads it
        return clip_VBCTHW, replace(moved, label_B=label_B, extra=extra)
