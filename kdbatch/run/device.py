"""The device that a process computes on, and what PyTorch is told about it: the same for runs and
for what measures them.
"""

import torch


def select_device(local_rank: int = 0) -> torch.device:
    """The GPU of this process, the CPU where there is none; PyTorch is set up for it."""
    if torch.cuda.is_available():
        device = torch.device(
            "cuda", local_rank % torch.cuda.device_count()
        )  # one alone is visible where SLURM has bound them
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    configure_torch(device)
    return device


def configure_torch(device: torch.device) -> None:
    """What PyTorch is told once about arithmetic on `device`."""
    if device.type == "cpu":
        torch.set_num_threads(
            1
        )  # sums in one order, so that a result does not depend on how many cores a machine has
        return
    torch.backends.cudnn.benchmark = True  # clips of a run have one shape
    # Networks run in bfloat16. What asks for single precision (losses, similarities, resizing) gets
    # all of its bits; convolutions have no
    # such use, and may drop some.
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # pyright: ignore[reportAttributeAccessIssue] (there at run time)
