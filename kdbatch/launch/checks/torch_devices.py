"""Whether the workers' PyTorch sees the GPUs of this machine, and is built for their maker."""

import subprocess
from collections.abc import Sequence

from kdbatch.base.command_lines import shell_line
from kdbatch.launch.checks.findings import Finding, bad, ok
from kdbatch.launch.machine import GpuMaker, ask, gpu_variable

TORCH_SECONDS = 120  # a file server may take as long to give PyTorch to a first process
TORCH_MARK = "torch of kdbatch:"
CODE = (  # prints the version, the build for ROCm, that for CUDA, and the number of GPUs
    "import torch; from torch import cuda, version as v; "
    f"print('{TORCH_MARK}', torch.__version__, v.hip or '-', v.cuda or '-', cuda.device_count())"
)


def torch_finding(python: Sequence[str], *, num_gpus: int, maker: GpuMaker, gpu: str) -> Finding:
    """Ask the workers' Python for the build of its PyTorch and the number of its GPUs. `gpu` is the
    field of [container]; empty without an image.
    """
    try:
        answer = ask((*python, "-c", CODE), seconds=TORCH_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return bad("torch", f"does not answer. Try it: {shell_line(*python, '-c', CODE)}")
    words = answer.text.rpartition(TORCH_MARK)[2].split()
    if TORCH_MARK not in answer.text or len(words) < 4 or not words[3].isdigit():
        last_line = answer.complaint.strip().rpartition("\n")[2]
        return bad("torch", f"cannot be imported ({last_line}). Install one, or name an image")
    version, hip, cuda, seen = words[0], words[1], words[2], int(words[3])
    build = {"AMD": hip, "NVIDIA": cuda}[maker]
    platform = {"AMD": "ROCm", "NVIDIA": "CUDA"}[maker]
    if build == "-":
        hint = f"Use an image or a Python with torch for {platform}"
        return bad("torch", f"{version} is not built for {maker}'s GPUs. {hint}")
    message = f"{version} for {platform} {build} sees {seen} of {num_gpus} GPUs"
    if seen >= num_gpus:
        return ok("torch", message)
    flag = {"AMD": "rocm", "NVIDIA": "nv"}[maker]
    if gpu not in ("", flag):
        return bad("torch", f'{message}. Write gpu = "{flag}" under [container]')
    return bad(
        "torch", f"{message}. Check the driver, the groups video and render, and {gpu_variable()}"
    )
