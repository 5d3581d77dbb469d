"""Two processes with half a batch each compute what one process computes from the whole batch."""

from typing import Any

import numpy as np
import pytest
import torch
from support.processes import in_two_processes
from support.tasks import TinyBackbone, batch_of
from torch import Tensor

from kdbatch.run.data.batches import Batch
from kdbatch.run.distributed.collectives import all_gather_with_grad, permute_rows
from kdbatch.run.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from kdbatch.run.tasks import PRETEXTS
from kdbatch.vocab.tasks.cvrl import CVRL
from kdbatch.vocab.tasks.rspnet import RSPNet
from kdbatch.vocab.tasks.tdl import TDL

NUM = 8
TASKS = {
    "cvrl": CVRL(hidden_dim=8, embedding_dim=4),
    "rspnet": RSPNet(queue_size=12, embedding_dim=4, key_momentum=0.9),
    "tdl": TDL(queue_size=12, embedding_dim=4, key_momentum=0.9),
    "tdl_triplet": TDL(queue_size=12, embedding_dim=4, key_momentum=0.9, loss="triplet"),
}


def rows() -> Tensor:
    return torch.randn(NUM, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def share(group: ProcessGroup) -> slice:
    """Positions in the batch of the rows of a rank."""
    return slice(group.rank, None, group.world_size)


def coupled_loss(weight: Tensor, group: ProcessGroup) -> Tensor:
    """The mean over this rank's rows of losses each of which depends on the rows of all ranks."""
    own = rows()[share(group)] @ weight
    all_rows = all_gather_with_grad(own, group)
    factor = 1 + torch.arange(NUM, dtype=torch.float64)[share(group)]
    product = own @ all_rows.T
    return (product.logsumexp(1) * factor + product.sin().sum(1)).mean()


def gradient_of_rows(group: ProcessGroup) -> list[Tensor]:
    weight = torch.eye(3, dtype=torch.float64, requires_grad=True)
    loss = coupled_loss(weight, group)
    loss.backward()
    assert weight.grad is not None
    return [loss.detach(), weight.grad]


def permuted_rows(group: ProcessGroup) -> dict[str, Tensor]:
    torch.manual_seed(0)
    x = torch.arange(10.0).view(5, 2) + 100 * group.rank
    order = torch.randperm(10)
    there = permute_rows(x, order, group)
    return {
        "x": x,
        "order": order,
        "there": there,
        "back": permute_rows(there, order.argsort(), group),
        "all": all_gather_with_grad(x, group),
    }


def task_steps(name: str, group: ProcessGroup) -> dict[str, Any]:
    """Three steps of SGD with gradients averaged over ranks, as data-parallel training does.

    Query networks are in evaluation mode, since synchronising their batch statistics is the
    trainer's part; key networks are in training mode.
    """
    task = TASKS[name]
    pretext = PRETEXTS[task.name]
    torch.manual_seed(0)
    model = pretext.build_model(task, TinyBackbone, group)
    for child, module in model.named_children():
        module.train(child.startswith("key_"))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for step in range(3):
        torch.manual_seed(40 + step)  # no two similarities are equal, which rounding would decide
        clip = torch.randn(2 if name == "cvrl" else 3, NUM, 3, 2, 4, 4)[:, share(group)]
        output = pretext.step(model, clip, _batch(share(group)), task)
        optimizer.zero_grad()
        output.loss.backward()
        values = torch.stack([output.loss.detach(), output.report["accuracy"]])
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        losses.append(group.average_(gradients, values))
        optimizer.step()
    return {"losses": torch.stack(losses), "state": dict(model.state_dict())}


def _batch(part: slice) -> Batch:
    # One video occurs twice, once on each rank.
    videos = np.array([0, 1, 2, 3, 4, 0, 6, 7])[part]
    extra = {
        "speed": np.array([1, 2] * 4),
        "other": np.array([2, 1] * 4),
        "mix_frame": np.array([0, 1] * 4),
        "mix_share": np.linspace(0, 0.1, 8, dtype=np.float32),
    }
    return batch_of(list(videos), **{name: values[part] for name, values in extra.items()})


def work(group: ProcessGroup) -> dict[str, Any]:
    steps = {name: task_steps(name, group) for name in TASKS}
    return {"rows": gradient_of_rows(group), "permuted": permuted_rows(group), "steps": steps}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return in_two_processes(work, tmp_path_factory.mktemp("two"))


def test_the_gradient_of_gathered_rows_returns_to_their_rank(two: list[Any]) -> None:
    for i, whole in enumerate(gradient_of_rows(SINGLE_PROCESS)):
        mean = (two[0]["rows"][i] + two[1]["rows"][i]) / 2
        assert torch.allclose(mean, whole, atol=1e-6, rtol=1e-12)


def test_a_single_process_gathers_nothing() -> None:
    x, backwards = rows(), torch.arange(NUM).flip(0)
    assert all_gather_with_grad(x, SINGLE_PROCESS) is x
    assert torch.equal(permute_rows(x, backwards, SINGLE_PROCESS), x.flip(0))


def test_rows_are_permuted_over_ranks_and_back(two: list[Any]) -> None:
    first, second = (result["permuted"] for result in two)
    batch = torch.stack([first["x"], second["x"]], 1).flatten(0, 1)
    assert torch.equal(first["all"], batch) and torch.equal(second["all"], batch)
    assert torch.equal(first["order"], second["order"])
    assert sorted(first["order"].tolist()) == list(range(10))
    permuted = torch.stack([first["there"], second["there"]], 1).flatten(0, 1)
    assert torch.equal(permuted, batch[first["order"]])
    assert torch.equal(first["back"], first["x"]) and torch.equal(second["back"], second["x"])


@pytest.mark.parametrize("name", TASKS)
def test_two_processes_train_as_one_does(two: list[Any], name: str) -> None:
    whole = task_steps(name, SINGLE_PROCESS)
    for result in two:
        found = result["steps"][name]
        assert torch.allclose(found["losses"], whole["losses"], atol=1e-6, rtol=1e-6)
        for entry, value in whole["state"].items():
            if "running_" in entry or "num_batches" in entry:
                continue  # statistics of key groups, of which each rank sees its own
            close = torch.allclose(found["state"][entry].double(), value.double(), atol=1e-6)
            assert close, entry


@pytest.mark.parametrize("name", ["rspnet", "tdl"])
def test_all_ranks_have_the_same_queue(two: list[Any], name: str) -> None:
    states = [result["steps"][name]["state"] for result in two]
    for entry in ("queue.key_QD", "queue.video_Q", "queue.next_place"):
        assert torch.equal(states[0][entry], states[1][entry])
    # 24 keys were pushed into a queue of 12.
    assert states[0]["queue.video_Q"].tolist() == [4, 0, 6, 7, *[0, 1, 2, 3, 4, 0, 6, 7]]
