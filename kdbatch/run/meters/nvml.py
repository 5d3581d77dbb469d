"""The utilisation and the power of a GPU as NVML reports them, by the package nvidia-ml-py."""

import contextlib
import time
from collections.abc import Callable

import torch

SAMPLE_SECONDS = 10.0


class _Nvml:
    """NVML, which is asked until it does not answer once."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._answers = device, device.type == "cuda"

    def ask(self, question: Callable[[torch.device], float]) -> float | None:
        """Return the answer, None where there is none."""
        if self._answers:
            # Without the package, in containers without NVML, and on some virtual GPUs: each has an
            # exception of its own, and none of them may end a training.
            with contextlib.suppress(Exception):
                return float(question(self._device))
        self._answers = False
        return None


class GpuUtilisation:
    """Samples the utilisation, the share of the last second or less in which any kernel ran, at
    most every `SAMPLE_SECONDS`: NVML takes milliseconds to answer.
    """

    def __init__(
        self, device: torch.device, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._nvml, self._clock, self._next_at = _Nvml(device), clock, 0.0

    def sample(self) -> float | None:
        """Percent; None where none is due, or NVML cannot be asked."""
        if self._clock() < self._next_at:
            return None
        percent = self._nvml.ask(torch.cuda.utilization)
        self._next_at = self._clock() + SAMPLE_SECONDS
        return percent


class GpuPower:
    """Asks for the power that a GPU draws now."""

    def __init__(self, device: torch.device) -> None:
        self._nvml = _Nvml(device)

    def watts(self) -> float | None:
        """The watts; None where NVML cannot be asked, and of AMD's GPUs, whose power PyTorch has in
        another unit.
        """
        milliwatts = None if torch.version.hip else self._nvml.ask(torch.cuda.power_draw)
        return None if milliwatts is None else milliwatts / 1000
