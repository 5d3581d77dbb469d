import numpy as np
import pytest
import torch
from test_sampling import video
from torch import nn

from kdbatch.run.data import Batch, Video
from kdbatch.run.tasks.rspnet import RSPNetModel, choose, draw_speeds, rspnet_step
from kdbatch.vocab.tasks import TASKS, RSPNet
from kdbatch.vocab.views import View

VIEW = View(num_frames=8)


class Pooled(nn.Module):
    """A backbone of a few weights, with batch normalisation."""

    feature_dim = 6

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 6, 1)
        self.bn = nn.BatchNorm3d(6)

    def forward_pooled(self, clip: torch.Tensor) -> torch.Tensor:
        return self.bn(self.conv(clip)).relu().mean((2, 3, 4))


def _model(task: RSPNet) -> RSPNetModel:
    torch.manual_seed(0)
    return RSPNetModel(task, Pooled(), Pooled())


def _batch(num: int) -> Batch:
    return Batch(clips=[], draws=[], num_views=3, label_B=torch.zeros(num), keys=["k"] * num)


@pytest.mark.parametrize("complexity", [1, 2, 3])
def test_the_three_clips_have_the_speeds_and_windows_of_the_task(complexity: int) -> None:
    task = TASKS["rspnet"].at(complexity)
    videos = [Video(None, video(150)) for _ in range(64)]  # type: ignore[arg-type]
    requests, extra = choose(videos, task, VIEW, np.random.default_rng(0))
    for request, s, other in zip(requests, extra["speed"], extra["other"], strict=True):
        q, k, k2 = request.frame_VT
        assert set(np.diff(q)) == set(np.diff(k)) == {s} and set(np.diff(k2)) == {other} and s != other
        both = np.concatenate([k, k2])
        assert both.max() - both.min() < task.window_frames(8)  # cut from one window
        assert request.draw_V == (0, 1, 1)  # k' is augmented as k is
    assert {s for r, s in zip(requests, extra["speed"])} == set(task.speeds)


def test_half_of_a_batch_has_each_speed() -> None:
    speed_B, other_B = draw_speeds(RSPNet(), 16, np.random.default_rng(1))
    assert sorted(speed_B) == [1] * 8 + [2] * 8
    assert (speed_B + other_B == 3).all()


def test_the_place_of_a_clip_in_its_window_does_not_tell_its_speed() -> None:
    videos = [Video(None, video(16)) for _ in range(400)]  # type: ignore[arg-type] # the window is the whole video
    requests, extra = choose(videos, RSPNet(), VIEW, np.random.default_rng(0))
    starts = [r.frame_VT[0, 0] for r, s in zip(requests, extra["speed"]) if s == 1]
    assert min(starts) == 0 and max(starts) == 8


def test_the_key_encoder_is_the_exact_moving_average() -> None:
    model = _model(RSPNet(key_momentum=0.9, queue_size=8, embedding_dim=4))
    before = [p.clone() for p in model.key_parameters()]
    with torch.no_grad():
        for p in (*model.backbone.parameters(), *model.heads.parameters()):
            p.add_(1.0)
    model.follow()
    queries = [*model.backbone.parameters(), *model.heads.parameters()]
    for old, new, query in zip(before, model.key_parameters(), queries, strict=True):
        assert torch.allclose(new, 0.9 * old + 0.1 * query)


def test_the_queue_wraps_and_holds_unit_vectors() -> None:
    model = _model(RSPNet(queue_size=8, embedding_dim=4))
    assert torch.allclose(model.queue_DQ.norm(dim=0), torch.ones(8))
    first, second = torch.eye(4).repeat(2, 1)[:5], -torch.eye(4).repeat(2, 1)[:5]
    model.enqueue(first)
    model.enqueue(second)
    assert torch.equal(model.queue_DQ[:, 5:].T, second[:3]) and torch.equal(model.queue_DQ[:, :2].T, second[3:])
    assert torch.equal(model.queue_DQ[:, 2:5].T, first[2:]) and int(model.next_place) == 2


def test_keys_come_back_in_their_order() -> None:
    model = _model(RSPNet(queue_size=8, embedding_dim=4)).eval()  # in evaluation mode the groups cannot matter
    clip = torch.randn(5, 3, 2, 4, 4)
    torch.manual_seed(3)
    motion, appearance = model.keys(clip)
    alone = [model.keys(clip[i : i + 1]) for i in range(5)]
    assert torch.allclose(motion, torch.cat([m for m, _ in alone]), atol=1e-6)
    assert torch.allclose(appearance, torch.cat([a for _, a in alone]), atol=1e-6)


def test_the_loss_is_the_sum_of_its_terms_and_only_queries_learn() -> None:
    task = RSPNet(queue_size=8, embedding_dim=4)
    model = _model(task)
    clip = torch.randn(3, 6, 3, 2, 4, 4)
    queue = model.queue_DQ.clone()
    step = rspnet_step(model, clip, _batch(6), task)
    step.loss.backward()
    assert float(step.loss.detach()) == pytest.approx(float((step.report["ranking"] + step.report["discrimination"]).detach()), rel=1e-5)
    assert all(p.grad is not None for p in (*model.backbone.parameters(), *model.heads.parameters()))
    assert all(p.grad is None for p in model.key_parameters())
    assert not torch.equal(model.queue_DQ, queue) and int(model.next_place) == 6


def test_the_ranking_margin_acts_on_scaled_similarities() -> None:
    """Equal clips: q.k = q.k', so the loss is the margin itself."""
    task = RSPNet(queue_size=8, embedding_dim=4, key_momentum=1.0)
    model = _model(task).eval()
    clip = torch.randn(1, 6, 3, 2, 4, 4).expand(3, -1, -1, -1, -1, -1)
    assert float(rspnet_step(model, clip, _batch(6), task).report["ranking"].detach()) == pytest.approx(2.0, abs=1e-5)
