"""Whether the Triton kernel of a shuffle and a depthwise convolution runs here, found by a try."""

import logging

import torch

_log = logging.getLogger(__name__)
_found: dict[str, bool] = {}  # by device type; a process tries once


def kernel_runs(device: torch.device, groups: int) -> bool:
    """Whether Triton compiles and launches the kernel and its gradients on this device.

    Triton needs a C compiler and Python's headers, which a slim image lacks. A trace of
    torch.compile tries nothing: a failure there is one of the whole compilation, which is tried in
    `kdbatch.run.compilation.trial`.
    """
    if device.type not in _found and not torch.compiler.is_compiling():
        _found[device.type] = _try(device, groups)
    return _found.get(device.type, True)


def _try(device: torch.device, groups: int) -> bool:
    try:
        # Triton takes a third of a second to import, and only a GPU needs it.
        from kdbatch.run.models.layers.depthwise import shuffled_depthwise  # noqa: PLC0415

        with torch.inference_mode(False), torch.enable_grad():
            map_BTHWC = torch.ones(1, 1, 1, 1, groups, device=device, requires_grad=True)
            weight_CK = torch.ones(groups, 27, device=device, requires_grad=True)
            shuffled_depthwise(map_BTHWC, weight_CK, 1, groups).sum().backward()
    except Exception as error:  # of the compiler, of the driver, of the tools that Triton starts
        reason = " ".join(str(error).split())[:200]
        _log.warning(
            "depthwise convolutions take PyTorch's own, slower layers: Triton fails here, which "
            "needs a C compiler and Python's headers: %s: %s",
            type(error).__name__,
            reason,
        )
        return False
    return True
