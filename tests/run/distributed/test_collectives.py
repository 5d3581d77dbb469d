"""Two processes with half a batch each compute what one process computes from the whole batch."""

from typing import Any

import numpy as np
import pytest
import torch
from support import tasks as world
from support.processes import WORLD_SIZE, in_two_processes
from torch import Tensor

from kdbatch.run.data.batches import Batch
from kdbatch.run.distributed.collectives import all_gather_with_grad, permute_rows
from kdbatch.run.tasks import PRETEXTS
from kdbatch.vocab.tasks import CVRL, TDL, RSPNet

NUM = 8
TASKS = {
    "cvrl": CVRL(hidden_dim=8, embedding_dim=4),
    "rspnet": RSPNet(queue_size=12, embedding_dim=4, key_momentum=0.9),
    "tdl": TDL(queue_size=12, embedding_dim=4, key_momentum=0.9),
    "tdl_triplet": TDL(queue_size=12, embedding_dim=4, key_momentum=0.9, loss="triplet"),
}


def rows() -> Tensor:
    return torch.randn(NUM, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def share(rank: int, world_size: int) -> slice:
    return slice(rank, None, world_size)


def coupled_loss(weight: Tensor, rank: int, world_size: int) -> Tensor:
    """The mean over this process's rows of losses each of which depends on the rows of all."""
    own = rows()[share(rank, world_size)] @ weight
    everyone = all_gather_with_grad(own)
    places = torch.arange(NUM, dtype=torch.float64)[share(rank, world_size)]
    return ((own @ everyone.T).logsumexp(1) * (1 + places) + (own @ everyone.T).sin().sum(1)).mean()


def gradient_of_rows(rank: int, world_size: int) -> list[Tensor]:
    weight = torch.eye(3, dtype=torch.float64, requires_grad=True)
    loss = coupled_loss(weight, rank, world_size)
    loss.backward()
    assert weight.grad is not None
    return [loss.detach(), weight.grad]


def moved_rows() -> dict[str, Tensor]:
    torch.manual_seed(0)
    rank = torch.distributed.get_rank()
    x = torch.arange(10.0).view(5, 2) + 100 * rank
    order = torch.randperm(10)
    there = permute_rows(x, order)
    return {
        "x": x,
        "order": order,
        "there": there,
        "back": permute_rows(there, order.argsort()),
        "all": all_gather_with_grad(x),
    }


def task_steps(name: str, rank: int, world_size: int) -> dict[str, Any]:
    """Three steps of SGD with gradients averaged over processes, as data-parallel training does.
    Query networks have no batch statistics here, since joining those is the trainer's part; key
    networks have.
    """
    task = TASKS[name]
    pretext = PRETEXTS[task.name]
    torch.manual_seed(0)
    model = pretext.build_model(task, world.TinyBackbone(), world.TinyBackbone())  # type: ignore[arg-type]
    for child, module in model.named_children():
        module.train(child.startswith("key_"))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for step in range(3):
        torch.manual_seed(step)
        clip = torch.randn(2 if name == "cvrl" else 3, NUM, 3, 2, 4, 4)[:, share(rank, world_size)]
        taken = pretext.step(model, clip, _batch(share(rank, world_size)), task)
        optimizer.zero_grad()
        taken.loss.backward()
        values = torch.stack([taken.loss.detach(), taken.report["accuracy"]])
        if world_size > 1:
            for parameter in [p for p in model.parameters() if p.grad is not None]:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= world_size  # type: ignore[operator]
            torch.distributed.all_reduce(values)
        optimizer.step()
        losses.append(values / world_size)
    return {"losses": torch.stack(losses), "state": dict(model.state_dict())}


def _batch(part: slice) -> Batch:
    places = np.array([0, 1, 2, 3, 4, 0, 6, 7])[part]  # one video twice, once in each process
    extra = {
        "speed": np.array([1, 2] * 4),
        "other": np.array([2, 1] * 4),
        "mix_frame": np.array([0, 1] * 4),
    }
    return world.batch_of(
        list(places),
        mix_share=np.linspace(0, 0.1, 8, dtype=np.float32)[part],
        **{n: v[part] for n, v in extra.items()},
    )


def work(rank: int) -> dict[str, Any]:
    steps = {name: task_steps(name, rank, WORLD_SIZE) for name in TASKS}
    return {"rows": gradient_of_rows(rank, WORLD_SIZE), "moved": moved_rows(), "steps": steps}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return in_two_processes(work, tmp_path_factory.mktemp("two"))


def test_gathered_rows_bring_their_gradient_home(two: list[Any]) -> None:
    loss, gradient = gradient_of_rows(0, 1)
    for place, whole in enumerate((loss, gradient)):
        mean = (two[0]["rows"][place] + two[1]["rows"][place]) / 2
        assert torch.allclose(mean, whole, atol=1e-6, rtol=1e-12)


def test_alone_nothing_is_gathered() -> None:
    x = rows()
    assert all_gather_with_grad(x) is x and torch.equal(
        permute_rows(x, torch.arange(NUM).flip(0)), x.flip(0)
    )


def test_rows_travel_to_where_the_order_wants_them_and_back(two: list[Any]) -> None:
    first, second = (result["moved"] for result in two)
    everyone = torch.stack([first["x"], second["x"]], 1).flatten(0, 1)
    assert torch.equal(first["all"], everyone) and torch.equal(second["all"], everyone)
    assert torch.equal(first["order"], second["order"]) and sorted(first["order"].tolist()) == list(
        range(10)
    )
    assert torch.equal(
        torch.stack([first["there"], second["there"]], 1).flatten(0, 1), everyone[first["order"]]
    )
    assert torch.equal(first["back"], first["x"]) and torch.equal(second["back"], second["x"])


@pytest.mark.parametrize("name", TASKS)
def test_two_processes_train_as_one_does(two: list[Any], name: str) -> None:
    whole = task_steps(name, 0, 1)
    for result in two:
        found = result["steps"][name]
        assert torch.allclose(found["losses"], whole["losses"], atol=1e-6, rtol=1e-6)
        for entry, value in whole["state"].items():
            if (
                "running_" not in entry and "num_batches" not in entry
            ):  # of key groups, of which each process sees its own
                assert torch.allclose(found["state"][entry].double(), value.double(), atol=1e-6), (
                    entry
                )


@pytest.mark.parametrize("name", ["rspnet", "tdl"])
def test_all_processes_have_the_same_queue(two: list[Any], name: str) -> None:
    states = [result["steps"][name]["state"] for result in two]
    for entry in ("queue.key_QD", "queue.video_Q", "queue.next_place"):
        assert torch.equal(states[0][entry], states[1][entry])
    assert states[0]["queue.video_Q"].tolist() == [
        4,
        0,
        6,
        7,
        0,
        1,
        2,
        3,
        4,
        0,
        6,
        7,
    ]  # 24 keys in 12 places
