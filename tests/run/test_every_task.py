"""What holds for every pretext task, walked through the table. Axes: B videos, V clips of a video, T frames."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from test_sampling import video
from worlds import JOBS

from kdbatch.plan.profile import load_profile
from kdbatch.run.augment import draw_augment
from kdbatch.run.batch import Batch, Video
from kdbatch.run.models import BACKBONES, build_backbone
from kdbatch.run.sampling import timeline_frames
from kdbatch.run.tasks import PRETEXTS
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.read import read
from kdbatch.vocab.tasks import TASKS, PretextTask
from kdbatch.vocab.views import View

MICRO = load_profile(JOBS / "subset_size.yaml", "micro")
CPU = torch.device("cpu")


def micro_task(name: str, complexity: int) -> PretextTask:
    """The task as the micro profile makes it: heads and queues of a few weights."""
    task = TASKS[name].at(complexity)  # type: ignore[arg-type]
    return read(type(task), dataclasses.asdict(task) | MICRO.tasks.get(name, {}), where=name)


def drawn_batch(name: str, task: PretextTask, view: View, *, num_videos: int) -> Batch:
    """Clips of noise in the shapes that the task asks for."""
    rng = np.random.default_rng(0)
    videos = [Video(Path(), dataclasses.replace(video(400), key=f"v{b}")) for b in range(num_videos)]
    requests, extra = PRETEXTS[name].choose(videos, task, view, rng)
    clips, draws = [], []
    for request in requests:
        own = [draw_augment(view.augment, height=40, width=52, rng=rng) for _ in range(max(request.draw_V) + 1)]
        for frame_T, number in zip(request.frame_VT, request.draw_V, strict=True):
            _, _, height, width = own[number].box
            clips.append(torch.from_numpy(rng.integers(0, 256, (len(frame_T), height, width, 3), dtype=np.uint8)))
            draws.append(own[number])
    numbers = {key: torch.from_numpy(np.asarray(values)) for key, values in extra.items()}
    label_B, keys = torch.zeros(num_videos, dtype=torch.long), [v.sample.key for v in videos]
    return Batch(clips=clips, draws=draws, num_views=len(requests[0].draw_V), label_B=label_B, keys=keys, extra=numbers)


@pytest.mark.parametrize("complexity", [1, 2, 3])
@pytest.mark.parametrize("kind", BACKBONES)
@pytest.mark.parametrize("name", PRETEXTS)
def test_every_task_trains_every_backbone_at_every_complexity(name: str, kind: str, complexity: int) -> None:
    task, spec = micro_task(name, complexity), TASKS[name]
    view = View(num_frames=8, size_pixels=32, augment=spec.augment)
    torch.manual_seed(0)
    backbone, copy = (build_backbone(Backbone(kind=kind, width=0.05)) for _ in range(2))  # type: ignore[arg-type]
    model = PRETEXTS[name].build(task, backbone, copy)
    batch = drawn_batch(name, task, view, num_videos=4)
    step = PRETEXTS[name].step(model, batch.views(size_pixels=32, device=CPU), batch, task)
    step.loss.backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
    assert all(g is not None and g.isfinite().all() for g in gradients.values()), name
    assert any(g.abs().max() > 0 for n, g in gradients.items() if n.startswith("backbone.") and g is not None)
    assert 0 <= float(step.report["accuracy"]) <= 1 and step.loss.isfinite()
    assert 0 < PRETEXTS[name].chance(task) < 1


@given(
    name=st.sampled_from(sorted(PRETEXTS)),
    complexity=st.sampled_from([1, 2, 3]),
    fps=st.sampled_from([12.0, 23.976, 25.0, 29.97, 50.0]),
    stride=st.integers(1, 4),
    spare=st.integers(0, 40),
    seed=st.integers(0, 2**32),
)
def test_frames_lie_in_the_declared_window_and_in_the_video(
    name: str, complexity: int, fps: float, stride: int, spare: int, seed: int
) -> None:
    """A video that is just long enough, or a little longer, is never left."""
    task, view = micro_task(name, complexity), View(num_frames=8, stride_frames=stride)
    need = task.window_frames(8 * stride)
    sample = video(int(np.ceil((need + spare) * fps / view.fps)), fps)
    assert timeline_frames(sample, view) >= need
    requests, extra = PRETEXTS[name].choose([Video(Path(), sample)] * 3, task, view, np.random.default_rng(seed))
    assert len(requests) == 3 and all(len(values) == 3 for values in extra.values())
    for request in requests:
        assert request.frame_VT.min() >= 0 and request.frame_VT.max() < sample.num_frames
        assert len(request.draw_V) == len(request.frame_VT) and set(request.draw_V) == set(range(max(request.draw_V) + 1))
        for frame_T in request.frame_VT:
            assert frame_T.max() - frame_T.min() <= np.ceil(need * fps / view.fps)


def test_tasks_and_specs_are_the_same_and_know_their_own_names() -> None:
    assert PRETEXTS.keys() == TASKS.keys()
    for name, spec in TASKS.items():
        for complexity in (1, 2, 3):
            task = spec.at(complexity)
            assert (task.name, task.complexity) == (name, complexity)
            assert task.window_frames(16) >= 16
