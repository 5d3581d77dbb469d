"""The power of a GPU as NVML reports it, by the package nvidia-ml-py."""

import contextlib

import torch


class GpuPower:
    """Asks for the power that a GPU draws now."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._is_available = device, device.type == "cuda" and not torch.version.hip

    def watts(self) -> float | None:
        """The watts; None where NVML cannot be asked (see GpuUtilisation), and of AMD's GPUs, whose
        power torch has in another unit.
        """
        if self._is_available:
            with contextlib.suppress(Exception):
                return torch.cuda.power_draw(self._device) / 1000
        self._is_available = False
        return None
