"""The utilisation of a GPU as NVML reports it, by the package nvidia-ml-py."""

import contextlib
import time
from collections.abc import Callable

import torch

SAMPLE_SECONDS = 10.0


class GpuUtilisation:
    """Samples the utilisation, the share of the last second or less in which any kernel ran, at
    most every `SAMPLE_SECONDS`: NVML takes milliseconds to answer.
    """

    def __init__(
        self, device: torch.device, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._device, self._clock = device, clock
        self._is_available, self._next_at = device.type == "cuda", 0.0

    def sample(self) -> float | None:
        """Percent; None where none is due, or NVML cannot be asked."""
        if not self._is_available or self._clock() < self._next_at:
            return None
        # Without the package, in containers without NVML, and on some virtual GPUs: each has an
        # exception of its own, and none of them may end a training.
        with contextlib.suppress(Exception):
            percent = float(torch.cuda.utilization(self._device))
            self._next_at = self._clock() + SAMPLE_SECONDS
            return percent
        self._is_available = False
        return None
