"""Doctor tells whether the workers' PyTorch fits the GPUs of this machine."""

import pytest

from kdbatch.launch.checks.torch_devices import torch_finding
from kdbatch.launch.machine import GpuMaker


@pytest.mark.parametrize(
    ("maker", "gpu", "printed", "severity", "says"),
    [
        ("AMD", "", "2.11.0+rocm7 7.0.2 - 8", "ok", "2.11.0+rocm7 for ROCm 7.0.2 sees 8 of 8"),
        ("NVIDIA", "nv", "2.15.0 - 13.2 8", "ok", "for CUDA 13.2 sees 8 of 8 GPUs"),
        ("AMD", "rocm", "2.15.0 - 13.2 0", "bad", "not built for AMD's GPUs. Use an image or a"),
        ("AMD", "nv", "2.11.0 7.0.2 - 0", "bad", 'sees 0 of 8 GPUs. Write gpu = "rocm" under'),
        ("AMD", "rocm", "2.11.0 7.0.2 - 0", "bad", "the groups video and render"),
        ("NVIDIA", "", "2.15.0 - 13.2 7", "bad", "sees 7 of 8 GPUs. Check the driver"),
    ],
)
def test_the_build_of_torch_and_its_gpus_are_compared_with_the_machine(
    maker: GpuMaker, gpu: str, printed: str, severity: str, says: str
) -> None:
    python = ("sh", "-c", f"echo greeting; echo 'torch of kdbatch: {printed}'")
    finding = torch_finding(python, num_gpus=8, maker=maker, gpu=gpu)
    assert finding.severity == severity and says in finding.message


def test_a_python_without_torch_is_bad() -> None:
    finding = torch_finding(
        ("sh", "-c", "echo 'no torch' >&2; exit 1"), num_gpus=1, maker="AMD", gpu=""
    )
    assert (finding.severity, finding.message) == (
        "bad",
        "cannot be imported (no torch). Install one, or name an image",
    )
