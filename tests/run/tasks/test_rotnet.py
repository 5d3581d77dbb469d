"""RotNet. Axes: B videos, R rotations, N = R*B clips; frames are H x W with rows from top to
bottom.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.tasks import sample_of
from torch import Tensor, nn

from kdbatch.base.errors import UserError
from kdbatch.run.data.augment import apply_augment
from kdbatch.run.data.augment_params import sample_augment
from kdbatch.run.data.batch import Batch, StoredVideo
from kdbatch.run.tasks.rotnet import (
    RotNetModel,
    chance_accuracy,
    rotated,
    rotnet_step,
    sample_clips,
)
from kdbatch.vocab.tasks import TASKS, Complexity
from kdbatch.vocab.tasks.rotnet import RotNet
from kdbatch.vocab.views import View

VIEW = View(num_frames=8, stride_frames=2, size_pixels=24)
CPU = torch.device("cpu")


class Rows(nn.Module):
    """A backbone that sees where the light is: the mean of each quarter of the picture."""

    feature_dim = 12

    def forward_pooled(self, clip: Tensor) -> Tensor:
        return F.adaptive_avg_pool3d(clip, (1, 2, 2)).flatten(1)


def _batch(num: int) -> Batch:
    return Batch(
        clips=[], augment_params=[], num_views=1, label_B=torch.zeros(num), keys=["k"] * num
    )


def _slow_turn(clip: np.ndarray, quarter: int) -> np.ndarray:
    """Counter-clockwise: what was in the right column comes to the top row."""
    for _ in range(quarter):
        size, out = clip.shape[-1], np.empty_like(clip)
        for y in range(size):
            for x in range(size):
                out[..., y, x] = clip[..., x, size - 1 - y]
        clip = out
    return clip


@pytest.mark.parametrize("complexity", [1, 2, 3])
def test_every_copy_is_turned_by_its_labels_angle_and_no_pixel_changes(
    complexity: Complexity,
) -> None:
    quarters = TASKS["rotnet"].at_complexity(complexity).quarters
    clip = torch.randn(2, 3, 2, 5, 5)
    copies = rotated(clip, quarters).unflatten(0, (len(quarters), 2))
    for quarter, copy in zip(quarters, copies, strict=True):
        assert np.array_equal(copy.numpy(), _slow_turn(clip.numpy(), quarter))


def test_four_quarters_are_none() -> None:
    clip = torch.randn(1, 3, 2, 6, 6)
    once = rotated(clip, [1])
    assert not torch.equal(once, clip)
    assert torch.equal(rotated(rotated(rotated(once, [1]), [1]), [1]), clip)
    assert torch.equal(rotated(rotated(clip, [3]), [1]), clip) and torch.equal(
        rotated(once, [1]), rotated(clip, [2])
    )


@pytest.mark.parametrize("complexity", [1, 2, 3])
def test_the_loss_and_accuracy_are_those_of_a_loop_over_copies(complexity: Complexity) -> None:
    task = TASKS["rotnet"].at_complexity(complexity)
    torch.manual_seed(complexity)
    model = RotNetModel(task, Rows()).double()  # pyright: ignore[reportArgumentType] (it has what the model calls)
    clip = torch.randn(3, 3, 4, 8, 8, dtype=torch.float64)
    step = rotnet_step(model, clip[None], _batch(3), task)
    losses, hits = [], []
    for label, quarter in enumerate(task.quarters):
        for b in range(3):
            logit = (
                model(torch.from_numpy(_slow_turn(clip[b : b + 1].numpy(), quarter)))[0]
                .detach()
                .float()
                .numpy()
                .astype(float)
            )
            losses.append(np.log(np.exp(logit - logit.max()).sum()) - (logit[label] - logit.max()))
            hits.append(logit.argmax() == label)
    assert float(step.loss.detach()) == pytest.approx(np.mean(losses), rel=1e-5)
    assert float(step.report["accuracy"]) == pytest.approx(np.mean(hits))
    by_angle = np.reshape(hits, (len(task.quarters), 3)).mean(1)
    assert [float(step.report[f"accuracy_at_{90 * q}"]) for q in task.quarters] == pytest.approx(
        list(by_angle)
    )
    assert chance_accuracy(task, 8) == 1 / len(task.quarters)


def test_nothing_that_the_augmentation_leaves_at_the_borders_tells_the_angle() -> None:
    """A video of one colour looks the same in every rotation, whatever was drawn: no black corner,
    no edge.
    """
    plain = torch.full((2, 40, 56, 3), 200, dtype=torch.uint8)
    for seed in range(20):
        draw = sample_augment(
            TASKS["rotnet"].augment, height=40, width=56, rng=np.random.default_rng(seed)
        )
        top, left, height, width = draw.box
        assert height == width == 35 and draw.degrees != 0
        clip = apply_augment(
            [plain[:, top : top + height, left : left + width]], [draw], size_pixels=24, device=CPU
        )
        assert torch.allclose(clip, clip[..., :1, :1].expand_as(clip), atol=1e-5)


def test_one_clip_per_video_with_one_draw_and_only_videos_that_hold_a_clip() -> None:
    videos = [StoredVideo(None, sample_of(n)) for n in (16, 40)]  # type: ignore[arg-type]
    requests, extra = sample_clips(videos, RotNet(), VIEW, np.random.default_rng(0))
    assert [r.frame_VT.shape for r in requests] == [(1, 8), (1, 8)] and not extra
    assert [r.draw_V for r in requests] == [(0,), (0,)]
    assert RotNet().window_frames(16) == 16


@pytest.mark.parametrize("quarters", [(), (1,), (0, 0), (0, 4), (-1, 0)])
def test_angles_that_make_no_task_are_refused(quarters: tuple[int, ...]) -> None:
    with pytest.raises(
        UserError,
        match=r"^quarters(: found .* two or more different ones of|\[.\]: found .* Write) 0",
    ):
        RotNet(quarters=quarters)
