"""The promises of every pretext task: its needs are true, and it trains every network."""

import math
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tasks as world
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from kdbatch.base.parse import parse
from kdbatch.run.data.augment import denormalize
from kdbatch.run.data.sampling import timeline_frames
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.models import BACKBONES, VideoBackbone, build_backbone
from kdbatch.run.tasks import PRETEXTS
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.tasks import TASKS, PretextTask
from kdbatch.vocab.views import View

SMALL = {"embedding_dim": 8, "hidden_dim": 16, "queue_size": 8}  # where a task has such a field
LADDER = [(name, complexity) for name in TASKS for complexity in (1, 2, 3)]


def task_of(name: str, complexity: Any, **fields: Any) -> PretextTask:
    task = TASKS[name].at_complexity(complexity)
    return parse(
        type(task),
        vars(task) | {field: value for field, value in fields.items() if hasattr(task, field)},
        where="test",
    )


def test_every_task_of_the_plan_can_be_trained() -> None:
    assert PRETEXTS.keys() == TASKS.keys()
    assert all(task_of(name, complexity).name == name for name, complexity in LADDER)


@pytest.mark.parametrize(("name", "complexity"), LADDER)
@given(data=st.data())
@settings(max_examples=20, deadline=None)
def test_every_frame_lies_in_the_declared_window_and_in_the_video(
    name: str, complexity: Any, data: st.DataObject
) -> None:
    task = task_of(name, complexity)
    view = View(
        num_frames=data.draw(st.sampled_from([4, 8, 16])),
        stride_frames=data.draw(st.integers(1, 4)),
    )
    need = task.window_frames(view.num_frames * view.stride_frames)
    fps = data.draw(st.sampled_from([12.0, 25.0, 29.97, 50.0]))
    shortest = next(
        n
        for n in range(1, 10 * need)
        if timeline_frames(world.videos(n, fps=fps)[0].sample, view) >= need
    )
    lengths = data.draw(st.lists(st.integers(shortest, 3 * shortest), min_size=1, max_size=5))
    videos = world.videos(*lengths, fps=fps)
    requests, extra = PRETEXTS[name].sample_clips(
        videos, task, view, np.random.default_rng(data.draw(st.integers(0, 1000)))
    )
    assert len(requests) == len(videos) and all(
        len(values) == len(videos) for values in extra.values()
    )
    for video, request in zip(videos, requests, strict=True):
        assert (
            len(request.draw_V) == len(request.frame_VT)
            and request.frame_VT.shape == requests[0].frame_VT.shape
        )
        assert request.frame_VT.min() >= 0 and request.frame_VT.max() < video.sample.num_frames
        span_V = request.frame_VT.max(1) - request.frame_VT.min(1)
        assert span_V.max() <= math.ceil((need - 1) * fps / view.fps)
        if (
            request.frame_VT.shape[1] == view.num_frames
        ):  # nothing but a clip: it neither wraps round nor is cut off at the end
            assert (np.diff(request.frame_VT, axis=1) >= (1 if fps >= view.fps else 0)).all()


@pytest.mark.parametrize(
    ("kind", "name", "complexity"),
    [
        pytest.param(kind, name, n, marks=() if kind == "r21d_10" or n == 3 else pytest.mark.rare)
        for kind in BACKBONES
        for name, n in LADDER
    ],
)
def test_every_task_takes_a_finite_step_with_every_network(
    kind: Any, name: str, complexity: Any
) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    view = View(num_frames=8, size_pixels=32)
    task, pretext = task_of(name, complexity, **SMALL), PRETEXTS[name]
    backbone = Backbone(kind=kind, width=0.0625)
    model = pretext.build_model(task, lambda: build_backbone(backbone), SINGLE_PROCESS).train()
    seen = {True: 0, False: 0}  # clips by whether something is learnt from them

    def count(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        seen[torch.is_grad_enabled()] += len(output)

    for network_name, network in model.named_children():
        if network_name in ("backbone", "key_backbone"):
            first = next(layer for layer in network.modules() if not any(layer.children()))
            first.register_forward_hook(count)
    requests, extra = pretext.sample_clips(
        world.videos(*[160] * 4), task, view, np.random.default_rng(0)
    )
    clip_VBCTHW = torch.randn(
        len(requests[0].frame_VT), 4, 3, *requests[0].frame_VT.shape[1:], 32, 32
    )
    batch = world.batch_of(range(4), num_views=len(clip_VBCTHW), **extra)
    step = pretext.step(model, clip_VBCTHW, batch, task)
    step.loss.backward()
    assert step.loss.isfinite() and all(value.isfinite() for value in step.report.values())
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert all(
        gradient is not None and gradient.isfinite().all() for gradient in gradients.values()
    )
    assert (
        any(n.startswith("backbone.") for n in gradients)
        and 0 <= float(step.report["accuracy"]) <= 1
    )
    assert 0 < pretext.chance_accuracy(task, 4) < 1
    assert (seen[True], seen[False]) == tuple(
        4 * clips for clips in task.clips_per_video
    )  # what the plan's estimate counts


@pytest.mark.parametrize("name", TASKS)
def test_a_task_builds_only_the_backbones_that_its_model_holds(name: str) -> None:
    built: list[VideoBackbone] = []

    def make_backbone() -> VideoBackbone:
        built.append(build_backbone(Backbone(kind="shufflenet_2x", width=0.0625)))
        return built[-1]

    model = PRETEXTS[name].build_model(task_of(name, 1, **SMALL), make_backbone, SINGLE_PROCESS)
    assert [m for m in model.modules() if isinstance(m, VideoBackbone)] == built
    assert model.get_submodule("backbone") is built[0]


class NoWaits(TorchDispatchMode):
    """Refuses what makes the host wait for the device: copies from one to the other, unless they
    are told not to wait.
    """

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if (
            function is torch.ops.aten._to_copy.default
            and kwargs.get("device", args[0].device) != args[0].device
        ):
            assert kwargs.get("non_blocking"), args[0]
        return function(*args, **kwargs)


@pytest.mark.parametrize("name", TASKS)
def test_a_loss_is_found_without_waiting_for_the_device(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the device without numbers: whoever asks what they are, or how many fulfil a condition, is
    refused there.

    No gradient: on a device that is no CPU it starts threads, after which no test of this process
    may fork.
    """
    monkeypatch.setattr(
        torch, "autocast", lambda *args, **kwargs: nullcontext()
    )  # which that device has not
    meta, view = torch.device("meta"), View(num_frames=8, size_pixels=32)
    task, pretext = task_of(name, 3, **SMALL), PRETEXTS[name]
    backbone = Backbone(kind="shufflenet_2x", width=0.0625)
    requests, extra = pretext.sample_clips(
        world.videos(*[160] * 4), task, view, np.random.default_rng(0)
    )
    batch = world.batch_of(range(4), num_views=len(requests[0].frame_VT), **extra)
    with meta:
        model = pretext.build_model(task, lambda: build_backbone(backbone), SINGLE_PROCESS).train()
        clip_VBCTHW = torch.empty(batch.num_views, 4, 3, *requests[0].frame_VT.shape[1:], 32, 32)
    denormalize(clip_VBCTHW)  # its constants go to the device once
    with NoWaits():
        step = pretext.step(model, clip_VBCTHW, batch, task)
    assert step.loss.is_meta
