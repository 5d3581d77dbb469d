"""VCOP. Axes: V clips of a tuple, B videos, T frames, K orders."""

import math
from collections import Counter

import numpy as np
import pytest
import torch
from support.tasks import sample_of
from torch import Tensor, nn

from kdbatch.base.errors import UserError
from kdbatch.run.data.batch import Batch, StoredVideo
from kdbatch.run.rng import balanced_labels
from kdbatch.run.tasks.vcop import VCOPModel, chance_accuracy, clip_orders, sample_clips, vcop_step
from kdbatch.vocab.tasks import TASKS, Complexity
from kdbatch.vocab.tasks.vcop import VCOP
from kdbatch.vocab.views import View

VIEW = View(num_frames=8, stride_frames=1)


class Pooled(nn.Module):
    """A tiny backbone without batch statistics, so that clips can be passed one by one."""

    feature_dim = 5

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(3, 5, 1)

    def forward_pooled(self, clip: Tensor) -> Tensor:
        return self.conv(clip).relu().mean((2, 3, 4))


def _rank(order: list[int]) -> int:
    """The place of an order in the lexicographic list: how many smaller clips are left at each
    position, in factorial digits.
    """
    rank = 0
    for place, clip in enumerate(order):
        smaller = sum(other < clip for other in order[place + 1 :])
        rank += smaller * math.factorial(len(order) - 1 - place)
    return rank


@pytest.mark.parametrize("num_clips", [3, 4, 5])
def test_labels_and_orders_go_round(num_clips: int) -> None:
    orders_KV = clip_orders(num_clips)
    assert orders_KV.shape == (math.factorial(num_clips), num_clips)
    assert [_rank(order.tolist()) for order in orders_KV] == list(range(len(orders_KV)))
    assert chance_accuracy(VCOP(num_clips=num_clips), 8) == 1 / len(orders_KV)


@pytest.mark.parametrize("complexity", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 3])
def test_clips_are_a_gap_apart_and_shown_in_the_order_of_the_label(
    complexity: Complexity, stride: int
) -> None:
    task, view = TASKS["vcop"].at_complexity(complexity), View(num_frames=8, stride_frames=stride)
    videos = [StoredVideo(None, sample_of(300)) for _ in range(64)]  # type: ignore[arg-type]
    requests, extra = sample_clips(videos, task, view, np.random.default_rng(0))
    for request, label in zip(requests, extra["order"], strict=True):
        frame_VT = request.frame_VT
        assert (np.diff(frame_VT, axis=1) == stride).all()
        starts = frame_VT[:, 0].tolist()
        in_time = sorted(starts)
        assert np.diff(in_time).tolist() == [8 * stride + 8] * (
            task.num_clips - 1
        )  # the clip, then 8 frames that nobody sees
        assert _rank([in_time.index(start) for start in starts]) == label
        assert request.draw_V == tuple(
            range(task.num_clips)
        )  # each clip has a crop and colours of its own


@pytest.mark.parametrize(("complexity", "frames"), [(1, 64), (2, 88), (3, 112)])
def test_the_windows_of_16_frames_are_the_published_ones(
    complexity: Complexity, frames: int
) -> None:
    assert TASKS["vcop"].at_complexity(complexity).window_frames(16) == frames


def test_labels_are_balanced_over_a_batch_and_none_is_favoured() -> None:
    rng, totals = np.random.default_rng(3), Counter[int]()
    for _ in range(300):
        counts = Counter(balanced_labels(6, 16, rng).tolist())
        assert set(counts.values()) == {2, 3} and len(counts) == 6
        totals.update(
            balanced_labels(6, 4, rng).tolist()
        )  # a batch smaller than the number of labels
    expected = 300 * 4 / 6
    assert all(abs(total - expected) < 5 * math.sqrt(expected) for total in totals.values())


@pytest.mark.parametrize("complexity", [1, 2, 3])
def test_logits_are_those_of_a_loop_over_pairs(complexity: Complexity) -> None:
    task = TASKS["vcop"].at_complexity(complexity)
    torch.manual_seed(0)
    model = VCOPModel(task, Pooled()).eval()  # type: ignore[arg-type]
    clip = torch.randn(task.num_clips, 2, 3, 2, 4, 4)
    for b in range(2):
        feature = [
            model.backbone.forward_pooled(clip[v, b : b + 1])[0].detach().numpy()
            for v in range(task.num_clips)
        ]
        hidden = []
        for i in range(task.num_clips):
            for j in range(i + 1, task.num_clips):
                both = np.concatenate([feature[i], feature[j]])
                hidden.append(
                    np.maximum(
                        model.pair.weight.detach().numpy() @ both
                        + model.pair.bias.detach().numpy(),
                        0,
                    )
                )
        logit = (
            model.order.weight.detach().numpy() @ np.concatenate(hidden)
            + model.order.bias.detach().numpy()
        )
        assert np.allclose(model(clip)[b].detach().numpy(), logit, atol=1e-5)


def test_the_loss_is_the_cross_entropy_with_the_order_and_dropout_acts_in_training_only() -> None:
    task = VCOP(hidden_dim=7)
    model = VCOPModel(task, Pooled()).eval()  # type: ignore[arg-type]
    clip, label = torch.randn(3, 4, 3, 2, 4, 4), torch.tensor([0, 5, 2, 3])
    batch = Batch(
        clips=[],
        augment_params=[],
        num_views=3,
        label_B=torch.zeros(4),
        keys=["k"] * 4,
        extra={"order": label},
    )
    step = vcop_step(model, clip, batch, task)
    probability = model(clip).softmax(1).detach().numpy()
    assert float(step.loss.detach()) == pytest.approx(
        -np.mean([np.log(probability[b, label[b]]) for b in range(4)]), rel=1e-5
    )
    assert float(step.report["accuracy"]) == np.mean(probability.argmax(1) == label.numpy())
    model.train()
    assert not torch.equal(model(clip), model(clip))


@pytest.mark.parametrize(
    "wrong", [{"num_clips": 1}, {"num_clips": 7}, {"gap_frames": -1}, {"dropout": 1.0}]
)
def test_tuples_that_make_no_task_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"(num_clips|gap_frames|dropout): found .*Write "):
        VCOP(**wrong)  # type: ignore[arg-type]
