"""The device of these tests: a GPU, or what KDBATCH_TEST_DEVICE names, to try them on a CPU.

Without a GPU they are skipped for one reason, or fail if KDBATCH_REQUIRE_GPU=1. A bare machine with
a GPU may lack PyAV and safetensors, which nothing here needs.
"""

import os
from collections.abc import Generator, Iterator

import pytest
import torch
from support.stand_ins import stand_in_for_videos_and_weights

from kdbatch.run.device import configure_torch

stand_in_for_videos_and_weights()

WANTED = os.environ.get("KDBATCH_TEST_DEVICE", "cuda")
NO_GPU = "these tests need a CUDA device, and torch finds none here"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "gpu" in item.path.parts:
            item.add_marker(pytest.mark.gpu)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Give all skips for want of a GPU one place, so that pytest prints one line for them."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and NO_GPU in report.longrepr[2]:
        report.longrepr = (__file__, 1, report.longrepr[2])
    return report


@pytest.fixture
def device() -> Iterator[torch.device]:
    """The device, with the settings of a run; they are restored after the test."""
    if WANTED == "cuda" and not torch.cuda.is_available():
        if os.environ.get("KDBATCH_REQUIRE_GPU") == "1":
            pytest.fail(f"a GPU is required (KDBATCH_REQUIRE_GPU=1), and {NO_GPU}", pytrace=False)
        pytest.skip(NO_GPU)
    threads, benchmark = torch.get_num_threads(), torch.backends.cudnn.benchmark
    device = torch.device(WANTED)
    configure_torch(device)
    yield device
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = benchmark


@pytest.fixture
def cuda(device: torch.device) -> torch.device:
    """The device of a test that makes sense on a GPU alone."""
    if device.type != "cuda":
        pytest.skip("only a GPU can be waited for")
    return device
