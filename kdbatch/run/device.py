"""The device of a process and PyTorch's settings for it, the same for runs and benchmarks."""

import atexit
import ctypes
import tempfile
from collections.abc import MutableMapping
from contextlib import ExitStack
from pathlib import Path

import torch

from kdbatch.base.temporary.private_folder import folder_of_this_user, open_private_folder
from kdbatch.base.temporary.temporary_folder import temporary_folder

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


def choose_compile_cache(environ: MutableMapping[str, str]) -> None:
    """Let torch keep compiled code in a folder of this user alone, unless `environ` names one.

    Its own choice, /tmp/torchinductor_NAME, may have been made by another user, with code of his
    own in it. Where that happened to our folder as well, the cache lives as long as this process.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in environ:
        return
    folder = folder_of_this_user(Path(tempfile.gettempdir()) / "kdbatch-compiled")
    try:
        with open_private_folder(folder):
            pass
    except OSError:
        until_exit = ExitStack()
        atexit.register(until_exit.close)
        folder = until_exit.enter_context(temporary_folder("compile"))
    environ["TORCHINDUCTOR_CACHE_DIR"] = str(folder)
