from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch

from kdbatch.base.progress import silent
from kdbatch.bench.cka import measure as cka
from kdbatch.bench.cka.scale import CkaScale
from kdbatch.bench.step import measure as step
from kdbatch.bench.step.scale import StepScale
from kdbatch.run.device import configure_torch, select_device
from kdbatch.vocab.backbones import Backbone

NETWORK = Backbone(kind="shufflenet_2x", width=0.0625)
MAPS = CkaScale(backbone=NETWORK, layers="res", num_clips=4, num_frames=4, size_pixels=32)
CUDNN: Any = torch.backends.cudnn
CONVOLUTIONS, PRODUCTS = CUDNN.conv, torch.backends.cuda.matmul


@pytest.fixture
def settings() -> Iterator[None]:
    """Restores PyTorch's settings after the test."""
    before = CUDNN.benchmark, CONVOLUTIONS.fp32_precision, PRODUCTS.fp32_precision
    yield
    CUDNN.benchmark, CONVOLUTIONS.fp32_precision, PRODUCTS.fp32_precision = before


def test_a_gpu_benchmarks_its_algorithms_and_only_convolutions_use_tf32(settings: None) -> None:
    CUDNN.benchmark, CONVOLUTIONS.fp32_precision, PRODUCTS.fp32_precision = False, "ieee", "tf32"
    configure_torch(torch.device("cuda"))
    assert CUDNN.benchmark
    assert (CONVOLUTIONS.fp32_precision, PRODUCTS.fp32_precision) == ("tf32", "ieee")


def test_a_cpu_adds_in_one_order() -> None:
    torch.set_num_threads(2)
    configure_torch(torch.device("cpu"))
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("room", "measure"),
    [
        (step, lambda: next(step.bench_step(StepScale(backbones=(NETWORK,)), [], progress=silent))),
        (cka, lambda: cka.bench_cka(MAPS, progress=silent)),
    ],
)
def test_benchmarks_configure_the_device_like_a_run(
    room: ModuleType, measure: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Selected(Exception):
        pass

    def select() -> torch.device:
        raise Selected

    assert room.select_device is select_device
    monkeypatch.setattr(room, "select_device", select)
    with pytest.raises(Selected):
        measure()
