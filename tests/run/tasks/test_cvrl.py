import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support import tasks as world
from torch import Tensor, nn

from kdbatch.run.tasks.cvrl import (
    CVRLModel,
    chance_accuracy,
    cvrl_step,
    draw_gap,
    nt_xent,
    sample_clips,
)
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.tasks.cvrl import CVRL
from kdbatch.vocab.views import View

VIEW = View(num_frames=8, stride_frames=2)
NUM_STARTS = 60
LENGTH = NUM_STARTS + VIEW.window_frames - 1


def gaps(complexity: int, num: int = 4000) -> np.ndarray:
    """Distances of the two starts in videos with NUM_STARTS places to start at."""
    task = TASKS["cvrl"].at_complexity(complexity)  # type: ignore[arg-type]
    requests, _ = sample_clips(world.videos(*[LENGTH] * num), task, VIEW, np.random.default_rng(5))
    start_NV = np.array([request.frame_VT[:, 0] for request in requests])
    return start_NV[:, 1] - start_NV[:, 0]


def test_at_complexity_1_both_clips_are_the_same_frames_under_two_augmentations() -> None:
    requests, _ = sample_clips(world.videos(20, 90, 300), CVRL(), VIEW, np.random.default_rng(0))
    assert all(
        np.array_equal(*request.frame_VT) and request.draw_V == (0, 1) for request in requests
    )


def test_at_complexity_2_the_gap_has_the_sources_density() -> None:
    """A density in proportion to 1 - x has the distribution 2x - x^2; at 1 %, Kolmogorov's bound is
    1.63 / sqrt(n).
    """
    edge = np.arange(1, NUM_STARTS + 1) / NUM_STARTS
    gap_N = np.abs(gaps(2))
    assert world.ks_distance(gap_N, 2 * edge - edge**2) < 1.63 / math.sqrt(len(gap_N))
    assert world.ks_distance(gap_N, edge) > 3 * 1.63 / math.sqrt(
        len(gap_N)
    )  # the test can tell the two ladders apart


def test_at_complexity_3_the_gap_is_uniform() -> None:
    edge = np.arange(1, NUM_STARTS + 1) / NUM_STARTS
    gap_N = np.abs(gaps(3))
    assert world.ks_distance(gap_N, edge) < 1.63 / math.sqrt(len(gap_N))


@pytest.mark.parametrize("complexity", [2, 3])
def test_either_clip_is_as_often_the_first(complexity: int) -> None:
    gap_N = gaps(complexity)
    later = int((gap_N > 0).sum())
    apart = int((gap_N != 0).sum())
    assert abs(later - apart / 2) < 3 * math.sqrt(apart) / 2


def test_starts_are_uniform_given_the_gap() -> None:
    requests, _ = sample_clips(
        world.videos(*[LENGTH] * 4000), CVRL(), VIEW, np.random.default_rng(5)
    )
    start_N = np.array([request.frame_VT[0, 0] for request in requests])
    assert world.ks_distance(start_N, np.arange(1, NUM_STARTS + 1) / NUM_STARTS) < 1.63 / math.sqrt(
        4000
    )


def test_a_video_of_one_clip_has_no_gap() -> None:
    task = TASKS["cvrl"].at_complexity(3)
    assert {draw_gap(task, 1, np.random.default_rng(i)) for i in range(20)} == {0}
    assert task.window_frames(16) == TASKS["cvrl"].at_complexity(1).window_frames(16) == 16


def unit(*shape: int, seed: int) -> Tensor:
    return F.normalize(
        torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64),
        dim=1,
    )


def slow_nt_xent(a: Tensor, b: Tensor, video: list[int], tau: float) -> float:
    total = 0.0
    for one, two in ((a, b), (b, a)):
        for i in range(len(one)):
            others = [j for j in range(len(one)) if video[j] != video[i]]
            own = math.exp(float(one[i] @ two[i]) / tau)
            across = sum(math.exp(float(one[i] @ two[j]) / tau) for j in others)
            within = sum(math.exp(float(one[i] @ one[j]) / tau) for j in others)
            total -= math.log(own / (own + across + within)) / len(one)
    return total


@pytest.mark.parametrize("video", [[0, 1, 2, 3, 4], [0, 1, 0, 3, 4], [7, 7, 7, 7, 7]])
def test_nt_xent_is_the_slow_sum_over_clips_of_other_videos(video: list[int]) -> None:
    a, b = unit(5, 3, seed=0), unit(5, 3, seed=1)
    loss, _ = nt_xent(a, b, torch.tensor(video), temperature=0.1)
    assert float(loss) == pytest.approx(slow_nt_xent(a, b, video, 0.1), rel=1e-12)


def test_without_duplicates_nt_xent_is_the_usual_one_on_twice_as_many_rows() -> None:
    """Chen et al. 2020, arXiv:2002.05709, algorithm 1 averages over 2B rows; the sum of both
    directions is twice that.
    """
    a, b = unit(6, 4, seed=2), unit(6, 4, seed=3)
    both = torch.cat([a, b])
    logit = (both @ both.T / 0.1).fill_diagonal_(-math.inf)
    usual = F.cross_entropy(logit, torch.arange(12).roll(6))
    assert float(nt_xent(a, b, torch.arange(6), temperature=0.1)[0]) == pytest.approx(
        2 * float(usual), rel=1e-12
    )


def test_accuracy_counts_partners_that_are_nearest_of_all() -> None:
    a = torch.eye(4, dtype=torch.float64)
    b = a[[0, 1, 3, 2]]
    assert float(nt_xent(a, a, torch.arange(4), temperature=0.1)[1]) == 1.0
    assert float(nt_xent(a, b, torch.arange(4), temperature=0.1)[1]) == 0.5


def test_guessing_is_right_once_in_all_other_clips() -> None:
    rng = np.random.default_rng(0)
    accuracies = []
    for _ in range(400):
        first_BD, second_BD = torch.from_numpy(rng.normal(size=(2, 8, 64)))
        _, accuracy = nt_xent(first_BD, second_BD, torch.arange(8), temperature=1.0)
        accuracies.append(float(accuracy))
    assert chance_accuracy(CVRL(), 8) == 1 / 15
    assert np.mean(accuracies) == pytest.approx(1 / 15, abs=0.02)


def test_the_head_has_the_sources_layers() -> None:
    model = CVRLModel(CVRL(), world.TinyBackbone())
    linear = [(m.in_features, m.out_features) for m in model.head if isinstance(m, nn.Linear)]
    assert linear == [(6, 2048), (2048, 2048), (2048, 2048), (2048, 128)]
    assert [type(m) for m in model.head] == [nn.Linear, nn.BatchNorm1d, nn.ReLU] * 3 + [nn.Linear]


def test_a_step_normalises_both_clips_together_and_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    task = CVRL(hidden_dim=8, embedding_dim=4)
    model = CVRLModel(task, world.TinyBackbone())
    sizes: list[int] = []
    model.head.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    step = cvrl_step(
        model, torch.randn(2, 5, 3, 2, 4, 4), world.batch_of(range(5), num_views=2), task
    )
    step.loss.backward()
    assert sizes == [10]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
