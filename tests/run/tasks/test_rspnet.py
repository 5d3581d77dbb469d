import dataclasses

import numpy as np
import pytest
import torch
from support import tasks as world

from kdbatch.run.data.batches import Batch
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.tasks.momentum import MomentumEncoders
from kdbatch.run.tasks.rspnet import build_model, draw_speeds, rspnet_step, sample_clips
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.tasks.rspnet import RSPNet
from kdbatch.vocab.views import View

VIEW = View(num_frames=8)
SMALL = RSPNet(queue_size=8, embedding_dim=4)


def model_of(task: RSPNet) -> MomentumEncoders:
    torch.manual_seed(0)
    return build_model(task, world.TinyBackbone, SINGLE_PROCESS)


def batch_of(num: int, task: RSPNet = SMALL) -> Batch:
    speed_B, other_B = draw_speeds(task, num, np.random.default_rng(0))
    return world.batch_of(range(num), speed=speed_B, other=other_B)


@pytest.mark.parametrize("complexity", [1, 2, 3])
def test_the_three_clips_have_the_speeds_and_windows_of_the_task(complexity: int) -> None:
    task = TASKS["rspnet"].at_complexity(complexity)  # type: ignore[arg-type]
    requests, extra = sample_clips(world.videos(*[150] * 64), task, VIEW, np.random.default_rng(0))
    for request, s, other in zip(requests, extra["speed"], extra["other"], strict=True):
        q, k, k2 = request.frame_VT
        assert (
            set(np.diff(q)) == set(np.diff(k)) == {s} and set(np.diff(k2)) == {other} and s != other
        )
        both = np.concatenate([k, k2])
        assert both.max() - both.min() < task.window_frames(8)  # cut from one window
        assert request.draw_V == (0, 1, 1)  # k' has the crop and colours of k
    assert {s for r, s in zip(requests, extra["speed"])} == set(task.speeds)


def test_the_two_windows_lie_anywhere_in_the_video_and_apart() -> None:
    requests, _ = sample_clips(world.videos(*[200] * 300), SMALL, VIEW, np.random.default_rng(0))
    q, k = (np.array([request.frame_VT[clip, 0] for request in requests]) for clip in (0, 1))
    assert min(*q, *k) < 10 and max(*q, *k) > 180
    assert abs(np.corrcoef(q, k)[0, 1]) < 0.15


@pytest.mark.parametrize("complexity", [1, 2, 3])
@pytest.mark.parametrize("num_videos", [1, 5, 16, 37])
def test_every_pair_of_speeds_has_an_equal_share_of_a_batch(
    complexity: int, num_videos: int
) -> None:
    task = TASKS["rspnet"].at_complexity(complexity)  # type: ignore[arg-type]
    pairs = list(zip(*draw_speeds(task, num_videos, np.random.default_rng(1)), strict=True))
    possible = [(s, other) for s in task.speeds for other in task.speeds if s != other]
    assert set(pairs) <= set(possible)
    for groups in (
        [pairs.count(pair) for pair in possible],
        [sum(pair[0] == s for pair in pairs) for s in task.speeds],
    ):
        assert max(groups) - min(groups) <= 1


def test_the_place_of_a_clip_in_its_window_does_not_tell_its_speed() -> None:
    requests, extra = sample_clips(
        world.videos(*[16] * 400), RSPNet(), VIEW, np.random.default_rng(0)
    )  # the window is the whole video
    starts = [r.frame_VT[0, 0] for r, s in zip(requests, extra["speed"]) if s == 1]
    assert min(starts) == 0 and max(starts) == 8


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_loss_is_the_weighted_sum_of_its_terms_and_only_queries_learn(weight: float) -> None:
    task = dataclasses.replace(SMALL, discrimination_weight=weight)
    model = model_of(task)
    clip = torch.randn(3, 6, 3, 2, 4, 4)
    before = model.queue.key_QD.clone()
    step = rspnet_step(model, clip, batch_of(6), task)
    step.loss.backward()
    ranking, discrimination = (
        float(step.report[name].detach()) for name in ("ranking", "discrimination")
    )
    assert float(step.loss.detach()) == pytest.approx(ranking + weight * discrimination, rel=1e-5)
    assert all(p.grad is not None for p in model.query_parameters())
    assert all(p.grad is None for p in model.key_parameters())
    assert not torch.equal(model.queue.key_QD, before) and int(model.queue.next_place) == 6


def test_the_queue_takes_the_appearance_of_the_other_speed() -> None:
    task = RSPNet(queue_size=8, embedding_dim=4, key_momentum=1.0)
    model = model_of(task).eval()
    clip = torch.randn(3, 6, 3, 2, 4, 4)
    rspnet_step(model, clip, batch_of(6), task)
    assert torch.allclose(
        model.queue.key_QD[:6], model.keys(clip[2:])[0, 1]
    ) and model.queue.video_Q.tolist() == [0, 1, 2, 3, 4, 5, -1, -1]


def test_the_loss_is_its_definition_in_loops() -> None:
    task = RSPNet(queue_size=8, embedding_dim=4, key_momentum=1.0)
    model, batch, clip = model_of(task).eval(), batch_of(6), torch.randn(3, 6, 3, 2, 4, 4)
    model.queue.push(
        torch.eye(4), torch.tensor([3, 9, 5, 3])
    )  # two keys of video 3, one of video 5
    queue, of = model.queue.key_QD.double(), model.queue.video_Q.tolist()
    (mq, aq), (mk, ak), (mo, ao) = (model.query(view).detach().double() for view in clip)
    ranking = discrimination = 0.0
    for b in range(6):
        ranking += max(0.0, 2.0 - float(mq[b] @ mk[b] - mq[b] @ mo[b]) / 0.07) / 6
        for key in (ak[b], ao[b]):
            own = np.exp(float(aq[b] @ key) / 0.07)
            others = sum(
                np.exp(float(aq[b] @ queue[place]) / 0.07) for place in range(8) if of[place] != b
            )
            discrimination -= np.log(own / (own + others)) / 6
    report = rspnet_step(model, clip, batch, task).report
    assert float(report["ranking"].detach()) == pytest.approx(ranking, rel=1e-5)
    assert float(report["discrimination"].detach()) == pytest.approx(discrimination, rel=1e-5)


def test_the_ranking_margin_acts_on_scaled_similarities() -> None:
    """Equal clips: q.k = q.k', so the loss is the margin itself."""
    task = RSPNet(queue_size=8, embedding_dim=4, key_momentum=1.0)
    model = model_of(task).eval()
    clip = torch.randn(1, 6, 3, 2, 4, 4).expand(3, -1, -1, -1, -1, -1)
    assert float(
        rspnet_step(model, clip, batch_of(6), task).report["ranking"].detach()
    ) == pytest.approx(2.0, abs=1e-5)


def test_accuracy_is_told_for_every_pair_of_speeds() -> None:
    task = RSPNet(queue_size=8, embedding_dim=4, speeds=(1, 2, 4))
    batch = batch_of(13, task)
    report = rspnet_step(model_of(task), torch.randn(3, 13, 3, 2, 4, 4), batch, task).report
    asked = {name: float(value) for name, value in report.items() if name.startswith("asked")}
    pairs = list(zip(batch.extra["speed"].tolist(), batch.extra["other"].tolist(), strict=True))
    assert (
        asked
        == {name: pytest.approx(pairs.count((int(name[6]), int(name[8]))) / 13) for name in asked}
        and len(asked) == 6
    )
    rights = [float(report[name.replace("asked", "right")]) for name in asked]
    assert sum(rights) == pytest.approx(float(report["accuracy"])) and all(
        r <= asked[n] for n, r in zip(asked, rights)
    )
