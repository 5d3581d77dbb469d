"""A task that judges speed cannot be solved by counting repeated frames.

The videos here have no speed: each frame is an independent cut of a texture, so that nothing but
the choice of frames differs between a slow clip and a fast one.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tasks as world
from torch import Tensor, nn

from kdbatch.run.data.batches import StoredVideo
from kdbatch.run.tasks import PRETEXTS
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.tasks.speed import NOMINAL, asked_fps
from kdbatch.vocab.views import View

SPEED_TASKS = [(name, complexity) for name in ("rspnet", "prp") for complexity in (1, 2, 3)]
SIDE = 12  # pixels
BATCH, STEPS, TEST_CLIPS = 32, 150, 1600


def slow_and_fast_frames(
    name: str, complexity: Any, view: View, fps: float, seed: int
) -> Iterator[tuple[int, np.ndarray]]:
    """(speed, frames) of each clip that a network sees, for 64 videos of ten seconds or more."""
    task = TASKS[name].at_complexity(complexity)
    seconds = max(10.0, 1.2 * task.window_frames(view.num_frames * view.stride_frames) / view.fps)
    videos = world.videos(*[int(seconds * fps)] * 64, fps=fps)
    requests, extra = PRETEXTS[name].sample_clips(videos, task, view, np.random.default_rng(seed))
    for i, request in enumerate(requests):
        if name == "prp":
            frames_J = request.frame_VT[0][: 2 * view.num_frames]
            yield int(task.rates[extra["rate"][i]]), frames_J[::2]
            yield int(task.rates[extra["rate"][i]]), frames_J[extra["real"][i]]
        else:
            for speed, frames_T in zip(
                (extra["speed"][i], extra["speed"][i], extra["other"][i]),
                request.frame_VT,
                strict=True,
            ):
                yield int(speed), frames_T


@pytest.mark.parametrize(("name", "complexity"), SPEED_TASKS)
@settings(max_examples=25, deadline=None)
@given(
    fps=st.sampled_from([10.0, 12.0, 12.5, 15.0, 23.976, 24.0, 25.0, 29.97, 30.0, 50.0, 60.0]),
    timeline=st.sampled_from([8.0, 12.0, 12.5, 24.0, 25.0, 30.0]),
    stride=st.integers(1, 4),
    seed=st.integers(0, 1000),
)
def test_no_clip_of_a_video_that_is_fast_enough_repeats_a_frame(
    name: str, complexity: Any, fps: float, timeline: float, stride: int, seed: int
) -> None:
    view = View(num_frames=8, stride_frames=stride, fps=timeline)
    asked = asked_fps(TASKS[name].at_complexity(complexity), view)
    fast_enough = fps >= NOMINAL * asked
    clips = list(slow_and_fast_frames(name, complexity, view, fps, seed))
    repeats = sum(len(frames) - len(set(frames.tolist())) for _, frames in clips)
    if fast_enough:
        allowed = 0 if fps >= asked else 0.01 * sum(len(frames) for _, frames in clips)
        assert repeats <= allowed
    else:
        assert repeats > 0


def test_other_tasks_take_videos_of_any_rate() -> None:
    asked = {name: asked_fps(spec.at_complexity(1), View()) for name, spec in TASKS.items()}
    assert {name for name, fps in asked.items() if fps} == {"rspnet", "prp"}
    assert asked["rspnet"] == asked["prp"] == 25.0


def test_the_slowest_speed_asks_for_the_most_frames() -> None:
    rspnet, prp = (TASKS[name].at_complexity(1) for name in ("rspnet", "prp"))
    view = View(stride_frames=2, fps=24.0)
    assert asked_fps(rspnet, view) == 12.0
    assert asked_fps(replace(rspnet, speeds=(2, 4)), view) == 6.0
    # PRP reconstructs the frames between those of a clip, where there are some
    assert asked_fps(prp, view) == 24.0
    assert asked_fps(prp, replace(view, stride_frames=3)) == 8.0


def _clips(view: View, fps: float, num_videos: int, seed: int) -> tuple[Tensor, Tensor]:
    """Clips q of RSPNet at the speeds 1 and 2, (N, 1, T, H, W), and which of them are fast."""
    task, rng = TASKS["rspnet"].at_complexity(1), np.random.default_rng(seed)
    videos: list[StoredVideo] = world.videos(*[int(6 * fps)] * num_videos, fps=fps)
    requests, extra = PRETEXTS["rspnet"].sample_clips(videos, task, view, rng)
    clip_NTHW = np.empty((num_videos, view.num_frames, SIDE, SIDE), np.float32)
    for clip_THW, request in zip(clip_NTHW, requests, strict=True):
        texture = rng.standard_normal((3 * SIDE, 3 * SIDE), np.float32)
        frames, index_T = np.unique(request.frame_VT[0], return_inverse=True)
        corners = rng.integers(0, 2 * SIDE, (len(frames), 2))
        cuts = [texture[y : y + SIDE, x : x + SIDE] for y, x in corners]
        clip_THW[:] = np.stack(cuts)[index_T]
    return torch.from_numpy(clip_NTHW)[:, None], torch.from_numpy(extra["speed"] == 2).long()


def unseen_accuracy(view: View, fps: float) -> float:
    """The accuracy of a small network in telling the speed of clips that it was not trained on."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv3d(1, 12, (2, 3, 3), stride=(1, 2, 2)),
        nn.ReLU(),
        nn.Conv3d(12, 12, (2, 3, 3)),
        nn.ReLU(),
        nn.AdaptiveAvgPool3d(1),
        nn.Flatten(),
        nn.Linear(12, 2),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(STEPS):
        clips, labels = _clips(view, fps, BATCH, seed=step)
        optimizer.zero_grad()
        F.cross_entropy(model(clips), labels).backward()
        optimizer.step()
    with torch.no_grad():
        clips, labels = _clips(view, fps, TEST_CLIPS, seed=STEPS)
        return float((model.eval()(clips).argmax(1) == labels).float().mean())


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fps", "timeline"),
    [
        pytest.param(fps, timeline, marks=() if timeline == 24.0 else pytest.mark.rare)
        for fps in (12.0, 23.976, 24.0, 25.0, 30.0)
        for timeline in (12.0, 24.0, 25.0)
    ],
)
def test_a_network_finds_the_speed_of_videos_without_speed_only_where_frames_repeat(
    fps: float, timeline: float, one_thread: None
) -> None:
    view = View(num_frames=16, fps=timeline)
    is_used = fps >= NOMINAL * asked_fps(TASKS["rspnet"].at_complexity(1), view)
    assert is_used == (fps >= NOMINAL * timeline)
    accuracy = unseen_accuracy(view, fps)
    is_chance = abs(accuracy - 0.5) <= 2.58 * 0.5 / sqrt(TEST_CLIPS)  # within a 99 % interval
    assert is_chance == is_used, accuracy
