"""The device of a process and PyTorch's settings for it, the same for runs and benchmarks."""

import ctypes

import torch

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def select_device(local_rank: int = 0) -> torch.device:
    """Return the GPU of this process, or the CPU if there is none, after `configure_torch`."""
    if torch.cuda.is_available():
        # Where SLURM binds GPUs to tasks, a process sees one alone.
        device = torch.device("cuda", local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    configure_torch(device)
    return device


def configure_torch(device: torch.device) -> None:
    """Set PyTorch's global options for arithmetic on `device`."""
    if device.type == "cpu":
        # One order of sums: a result must not depend on the number of cores.
        torch.set_num_threads(1)
        return
    torch.backends.cudnn.benchmark = True  # clips of a run have one shape
    # Networks run in bfloat16. Losses, similarities and resizing use single precision and need all
    # of its bits; convolutions are not among them, and may use TF32.
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "tf32"  # pyright: ignore[reportAttributeAccessIssue] (there at run time)


def keep_freed_memory() -> None:
    """Let glibc keep the memory that a step frees, for the next step.

    By default large blocks are returned to the kernel, which clears them each time. Keeping them
    saves a tenth of a narrow R(2+1)D's step on a CPU.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
            library.mallopt(option, 2**31 - 1)
