"""Two processes compute what one does: gradients, batch statistics, dropout, curves, evaluation
shares.
"""

import dataclasses
import json
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.processes import WORLD_SIZE, in_two_processes
from support.tasks import batch_of, videos
from support.training import deterministic_curves, run
from torch import nn
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

from kdbatch.base.errors import UserError
from kdbatch.run.attempt.ending import end_attempt
from kdbatch.run.data.batches import EvaluationBatches
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.distributed.process_group import ProcessGroup
from kdbatch.run.distributed.rank_info import RankInfo, rank_info
from kdbatch.run.distributed.sync_layers import (
    GlobalBatchDropout,
    SyncBatchNorm,
    synchronize_layers,
)
from kdbatch.run.heartbeat import StatusReporter, Stopped, StopSignal
from kdbatch.run.main import main
from kdbatch.run.models import BACKBONES, Classifier, build_backbone
from kdbatch.run.tasks import PRETEXTS
from kdbatch.run.train.optim import compute_gradients
from kdbatch.vocab.attempts.exit_rules import EXIT_RENDEZVOUS
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.status import load_status
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import View


def in_two(act: Callable[..., Any], *args: Any, folder: Path) -> list[Any]:
    """The values that `act(group, *args)` returns in each of two processes."""
    (place := folder / f"{act.__name__}{len(list(folder.iterdir()))}").mkdir()
    return in_two_processes(lambda group: act(group, *args), place)


TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "n1",
    "MASTER_PORT": "29500",
}
SLURM = {
    "SLURM_PROCID": "1",
    "SLURM_STEP_NUM_TASKS": "2",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "41234",
    "SLURM_NTASKS": "2",
}


def test_a_process_finds_its_place_in_what_its_launcher_says() -> None:
    expected = RankInfo(
        rank=3, world_size=4, local_rank=1, processes_on_node=2, host="n1", port=29500
    )
    assert rank_info(TORCHRUN) == rank_info({**SLURM, **TORCHRUN}) == expected
    assert rank_info(SLURM) == RankInfo(
        rank=1, world_size=2, local_rank=1, host="127.0.0.1", port=11234
    )
    assert rank_info({**SLURM, "MASTER_ADDR": "n7", "MASTER_PORT": "5"}) == RankInfo(
        rank=1, world_size=2, local_rank=1, host="n7", port=5
    )


def test_the_shell_of_an_allocation_is_alone() -> None:
    assert (
        rank_info({})
        == rank_info({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"})
        == rank_info({**TORCHRUN, "WORLD_SIZE": "1"})
        == RankInfo()
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"RANK": ""},
            "RANK: expected a number, found ''. Start the processes with torchrun or srun",
        ),
        ({"RANK": "4"}, "RANK=4: no such process of WORLD_SIZE=4"),
        ({"MASTER_PORT": "http"}, "MASTER_PORT: expected a number, found 'http'"),
        (
            {"MASTER_ADDR": ""},
            "4 processes, but MASTER_ADDR or MASTER_PORT is not set.*export both",
        ),
    ],
)
def test_a_place_that_makes_no_sense_is_one_line(change: dict[str, str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        rank_info({**TORCHRUN, **change})


def test_several_nodes_of_slurm_need_to_be_told_where_to_meet() -> None:
    with pytest.raises(UserError, match="MASTER_ADDR"):
        rank_info({**SLURM, "SLURM_STEP_NUM_NODES": "2"})


def test_processes_that_do_not_meet_may_be_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Compare(
        data=Subset(dataset="ucf101", split="train01", num_places=0, num_classes=3, digest="0"),
        view=View(),
    )
    run = Run(recipe=recipe, seed=0, parents=())
    folder = RunFolder(tmp_path / run.id)
    folder.path.mkdir()
    folder.save(
        Assignment(run=run, title="x", shards_dir="", decoder="pyav", resources=Resources(nodes=2))
    )
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = {
            "RANK": "0",
            "WORLD_SIZE": "2",
            "LOCAL_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(taken.getsockname()[1]),
        }
        for name, value in place.items():
            monkeypatch.setenv(name, value)
        assert main([str(folder.path)], stop=StopSignal()) == EXIT_RENDEZVOUS


def _batch_norm(group: ProcessGroup, x: torch.Tensor) -> dict[str, torch.Tensor]:
    plain = nn.BatchNorm3d(3)
    with torch.no_grad():
        plain.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
    norm = nn.Sequential(plain)
    synchronize_layers(norm, group)
    share = x[group.rank :: group.world_size].clone().requires_grad_()
    out = norm(share)
    (out**3).mean().backward()
    assert share.grad is not None
    assert plain.weight.grad is not None and plain.bias.grad is not None
    parts = {
        "out": out.detach(),
        "input": share.grad,
        "weight": plain.weight.grad,
        "bias": plain.bias.grad,
    }
    return {
        **parts,
        **{k: v for k, v in norm.state_dict().items() if "running" in k},
        "kind": torch.tensor(isinstance(norm[0], SyncBatchNorm)),
    }


def test_batch_normalisation_over_two_processes_is_that_of_the_whole_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, 2, 4, 4) + torch.tensor([0.0, 100.0, -3.0]).view(3, 1, 1, 1)
    whole = _batch_norm(ProcessGroup(), x)
    shares = in_two(_batch_norm, x, folder=tmp_path)
    assert not whole["kind"] and all(s["kind"] for s in shares)
    together = torch.empty_like(x)
    for name, scale in (
        ("out", 1),
        ("input", 1 / 2),
    ):  # the loss of a share is a mean over half of the batch
        together[0::2], together[1::2] = (s[name] * scale for s in shares)
        assert torch.allclose(together, whole[name], rtol=1e-4, atol=1e-5), name
    for name in ("weight", "bias"):
        assert torch.allclose(
            (shares[0][name] + shares[1][name]) / 2, whole[name], rtol=1e-4, atol=1e-5
        ), name
    for name in ("0.running_mean", "0.running_var"):
        assert all(torch.allclose(s[name], whole[name], rtol=1e-5, atol=1e-6) for s in shares), name


def _masks(group: ProcessGroup) -> torch.Tensor:
    torch.manual_seed(3)
    module: nn.Module = nn.Sequential(nn.Dropout(0.4))
    synchronize_layers(module, group)
    return module(torch.ones(8, 5)[group.rank :: group.world_size])


def test_dropout_over_two_processes_drops_what_one_would(tmp_path: Path) -> None:
    first, second = in_two(_masks, folder=tmp_path)
    whole = _masks(ProcessGroup())
    assert (
        torch.equal(first, whole[0::2])
        and torch.equal(second, whole[1::2])
        and 0 < int((whole == 0).sum()) < 40
    )


def test_a_network_without_gradients_keeps_its_own_statistics() -> None:
    model = nn.ModuleDict(
        {
            "query": nn.BatchNorm3d(2),
            "key": nn.BatchNorm3d(2).requires_grad_(False),
            "drop": nn.Dropout(0.5),
        }
    )
    names = list(model.state_dict())
    synchronize_layers(model, ProcessGroup(rank=0, world_size=2))
    assert (
        isinstance(model["query"], SyncBatchNorm)
        and type(model["key"]) is nn.BatchNorm3d
        and isinstance(model["drop"], GlobalBatchDropout)
    )
    assert list(model.state_dict()) == names


def _talk(group: ProcessGroup) -> str:
    mean = group.all_reduce_mean(torch.tensor([float(group.rank)]))
    rows = group.all_gather_rows(
        torch.full((1 + 2 * group.rank, 2), 0.1 + group.rank, dtype=torch.float64)
    ).tolist()
    heard = [
        group.broadcast_bytes(b"from " + str(group.rank).encode()),
        group.broadcast_bytes(None),
        group.broadcast_bytes(b""),
    ]
    x = torch.full((2, 3), float(group.rank))
    numbers = group.average_([x], torch.tensor([4.0 * group.rank]))
    y = torch.full((2,), float(group.rank + 5))
    group.broadcast_tensors([y])
    return json.dumps(
        [
            mean.tolist(),
            rows,
            [None if h is None else h.decode() for h in heard],
            x.tolist(),
            numbers.tolist(),
            y.tolist(),
        ]
    )


def test_what_processes_tell_each_other_arrives(tmp_path: Path) -> None:
    rows = [[0.1, 0.1]] + [[1.1, 1.1]] * 3
    expected = [[0.5], rows, ["from 0", None, ""], [[0.5] * 3] * 2, [2.0], [5.0] * 2]
    assert [json.loads(text) for text in in_two(_talk, folder=tmp_path)] == [expected, expected]


def _stop(group: ProcessGroup, folder: Path) -> bool:
    """Whether the run's status tells of the stop when this process has ended its attempt."""
    group = dataclasses.replace(group, store=FileStore(str(folder / "words"), WORLD_SIZE))
    with StatusReporter(
        RunFolder(folder), device="cpu", stop=StopSignal(), writes=group.is_rank0
    ) as pulse:
        if group.is_rank0:
            time.sleep(0.1)  # it saves
        end_attempt(Stopped(), RunFolder(folder), pulse, group)
        status = load_status(folder / "status.json")
    return status is not None and status.state == "stopped"


def test_a_process_that_stops_leaves_after_the_leader_has_told_it(tmp_path: Path) -> None:
    assert in_two(_stop, tmp_path, folder=tmp_path) == [True, True]


def _gradients(group: ProcessGroup, kind: str) -> dict[str, torch.Tensor]:
    """Gradients of a whole network, by six clips or this process's share of them, in float64."""
    torch.manual_seed(0)
    model = Classifier(
        build_backbone(Backbone(kind=kind, width=0.0625)), num_classes=5, dropout=0.3
    ).double()  # type: ignore[arg-type]
    synchronize_layers(model, group)
    clip_BCTHW, label_B = (
        x[group.rank :: group.world_size]
        for x in (torch.randn(6, 3, 4, 32, 32).double(), torch.arange(6) % 5)
    )
    loss = nn.functional.cross_entropy(model(clip_BCTHW), label_B)
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return {**gradients, "loss": group.average_(list(gradients.values()), loss.detach()[None])}


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_gradient_over_two_processes_is_that_of_the_whole_batch(
    kind: str, tmp_path: Path
) -> None:
    whole = _gradients(ProcessGroup(), kind)
    size = torch.stack([g.norm() for g in whole.values()]).norm()
    for found in in_two(_gradients, kind, folder=tmp_path):
        assert found.keys() == whole.keys()
        assert max((found[name] - whole[name]).norm() / size for name in whole) < 1e-12


def _pretext_gradients(group: ProcessGroup, name: str) -> dict[str, torch.Tensor]:
    """Gradients of a pretext task's second step: by then a key encoder and a queue have moved."""
    torch.manual_seed(0)
    task, pretext, view = (
        TASKS[name].at_complexity(1),
        PRETEXTS[name],
        View(num_frames=8, size_pixels=32),
    )
    small = {"queue_size": 16, "embedding_dim": 8, "hidden_dim": 8, "decoder_dim": 8}
    task = dataclasses.replace(
        task, **{field: n for field, n in small.items() if hasattr(task, field)}
    )  # type: ignore[arg-type]
    backbone = Backbone(kind="r21d_10", width=0.0625)
    model = pretext.build_model(task, lambda: build_backbone(backbone), group).double()
    if isinstance(getattr(model, "queue", None), nn.Module):
        model.get_submodule(
            "queue"
        ).float()  # as the embeddings, which are cast to single precision
    synchronize_layers(model, group)
    share = slice(group.rank, None, group.world_size)
    numbers: dict[str, torch.Tensor] = {}
    for step in range(2):
        requests, extra = pretext.sample_clips(
            videos(*[100] * 8), task, view, np.random.default_rng(step)
        )
        torch.manual_seed(step)
        num_frames = requests[0].frame_VT.shape[1]
        clip_VBCTHW = torch.randn(len(requests[0].draw_V), 8, 3, num_frames, 32, 32).double()
        clip_VBCTHW = clip_VBCTHW[:, share]
        extra = {
            n: v.astype(float) if v.dtype == np.float32 else v
            for n, v in ({"video": np.arange(8)} | extra).items()
        }
        batch = batch_of(
            range(8)[share], num_views=len(clip_VBCTHW), **{n: v[share] for n, v in extra.items()}
        )
        numbers = compute_gradients(
            model,
            lambda c, b: pretext.step(model, c, b, task),
            (clip_VBCTHW, batch),
            num_micro_batches=1,
            group=group,
            stop_requested=lambda: False,
        )
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return {**gradients, **{f"told {n}": v.detach() for n, v in numbers.items()}}


@pytest.mark.parametrize("name", PRETEXTS)
def test_a_pretext_task_over_two_processes_is_that_of_the_whole_batch(
    name: str, tmp_path: Path
) -> None:
    whole = _pretext_gradients(ProcessGroup(), name)
    first, second = in_two(_pretext_gradients, name, folder=tmp_path)
    size = torch.stack([g.norm() for n, g in whole.items() if not n.startswith("told")]).norm()
    assert first.keys() == second.keys() == whole.keys()
    for n, expected in whole.items():
        assert torch.allclose(first[n], second[n]), n
        if n.startswith("told"):
            assert float(first[n]) == pytest.approx(float(expected), rel=1e-4, abs=1e-5), n
        else:
            assert (first[n] - expected).norm() / size < 1e-5, n


def _train(group: ProcessGroup, folder: str, stop_at: int | None) -> dict[str, Any]:
    """Trains on this process's share; `stop_at` asks process 1 alone to stop."""
    try:
        state, trained = run(
            Path(folder), group=group, stop_at=stop_at if group.rank == 1 else None
        )
    except Stopped:
        return {
            "stopped": torch.load(Path(folder) / "checkpoint.pt", weights_only=True)["state"][
                "step"
            ]
            if group.is_rank0
            else -1
        }
    return {
        "state": state,
        "curves": [[m.name, m.value, m.step] for m in deterministic_curves(trained)],
    }


def test_two_processes_train_the_network_that_one_does(tmp_path: Path) -> None:
    """With batch normalisation and dropout in it."""
    state, trained = run(tmp_path / "one")
    (tmp_path / "two").mkdir()
    first, second = in_two(_train, str(tmp_path / "two"), None, folder=tmp_path)
    assert all(torch.equal(value, second["state"][name]) for name, value in first["state"].items())
    assert first["curves"] == second["curves"] and [c[0] for c in first["curves"]] == [
        m.name for m in deterministic_curves(trained)
    ]
    for name, value in state.items():
        assert torch.allclose(first["state"][name].float(), value.float(), rtol=1e-4, atol=1e-5), (
            name
        )
    assert [c[1] for c in first["curves"]] == pytest.approx(
        [m.value for m in deterministic_curves(trained)], rel=1e-4
    )


def test_a_word_to_one_process_stops_both_at_one_step_and_both_go_on(tmp_path: Path) -> None:
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole, _ = in_two(_train, str(tmp_path / "whole"), None, folder=tmp_path)
    assert [
        r["stopped"] for r in in_two(_train, str(tmp_path / "stopped"), 4, folder=tmp_path)
    ] == [4, -1]
    resumed, other = in_two(_train, str(tmp_path / "stopped"), None, folder=tmp_path)
    assert all(
        torch.equal(value, whole["state"][name]) and torch.equal(value, other["state"][name])
        for name, value in resumed["state"].items()
    )
    assert resumed["curves"] == whole["curves"]


def test_evaluation_shares_are_the_stored_order_cut_in_pieces() -> None:
    for num_videos, world_size in ((17, 2), (17, 5), (5, 4)):
        groups = [
            EvaluationBatches(
                list(range(num_videos)),  # type: ignore[arg-type]
                view=View(),
                videos_per_batch=2,
                request=lambda sample: None,  # type: ignore[arg-type,return-value]
                clip_reader=ClipReader(decoder="pyav"),
                rank=rank,
                world_size=world_size,
            ).groups
            for rank in range(world_size)
        ]
        assert [v for share in groups for group in share for v in group] == list(range(num_videos))
        assert max(map(len, groups)) - min(map(len, groups)) <= 1 and min(map(len, groups)) > 0
