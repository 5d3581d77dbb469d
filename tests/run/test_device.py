from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch

from kdbatch.base.progress import silent
from kdbatch.bench.cka import measure as cka
from kdbatch.bench.cka.scale import CkaScale
from kdbatch.bench.step import measure as step
from kdbatch.bench.step.scale import StepScale
from kdbatch.run.device import select_device, configure_torch
from kdbatch.vocab.backbones import Backbone

NETWORK = Backbone(kind="shufflenet_2x", width=0.0625)
MAPS = CkaScale(backbone=NETWORK, layers="res", num_clips=4, num_frames=4, size_pixels=32)
CUDNN, CONVOLUTIONS, PRODUCTS = (
    torch.backends.cudnn,
    torch.backends.cudnn.conv,
    torch.backends.cuda.matmul,
)  # type: ignore[attr-defined]


@pytest.fixture
def settings() -> Iterator[None]:
    """What PyTorch was told before, it is told again."""
    before = CUDNN.benchmark, CONVOLUTIONS.fp32_precision, PRODUCTS.fp32_precision
    yield
    CUDNN.benchmark, CONVOLUTIONS.fp32_precision, PRODUCTS.fp32_precision = before


def test_a_gpu_tries_its_algorithms_and_only_convolutions_drop_bits(settings: None) -> None:
    CUDNN.benchmark, CONVOLUTIONS.fp32_precision, PRODUCTS.fp32_precision = False, "ieee", "tf32"
    configure_torch(torch.device("cuda"))
    assert (CUDNN.benchmark, CONVOLUTIONS.fp32_precision, PRODUCTS.fp32_precision) == (
        True,
        "tf32",
        "ieee",
    )


def test_a_cpu_adds_in_one_order() -> None:
    torch.set_num_threads(2)
    configure_torch(torch.device("cpu"))
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(
    ("room", "measure"),
    [
        (step, lambda: step.bench_step(StepScale(backbones=(NETWORK,)), [], progress=silent)),
        (cka, lambda: cka.bench_cka(MAPS, progress=silent)),
    ],
)
def test_what_is_measured_runs_on_a_device_set_up_as_that_of_a_run(
    room: ModuleType, measure: Callable[[], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    class SetUp(Exception):
        pass

    def asked() -> torch.device:
        raise SetUp

    assert room.select_device is select_device
    monkeypatch.setattr(room, "select_device", asked)
    with pytest.raises(SetUp):
        measure()
