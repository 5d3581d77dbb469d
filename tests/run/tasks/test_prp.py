"""PRP. Axes: B videos, C channels, T frames of a clip, J=2T target frames, G groups, M=4 frames of
a group, H, W.
"""

import numpy as np
import pytest
import torch
from support.tasks import sample_of
from torch import Tensor, nn

from kdbatch.base.errors import UserError
from kdbatch.run.data.augment import MEAN, STD, denormalize
from kdbatch.run.data.batch import Batch, StoredVideo
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.models import build_backbone
from kdbatch.run.tasks.motion import motion_weights
from kdbatch.run.tasks.prp import (
    PRPModel,
    chance_accuracy,
    motion_offsets,
    prp_step,
    sample_clips,
    target_offsets,
    target_weights,
)
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.tasks import TASKS, Complexity
from kdbatch.vocab.tasks.prp import PRP
from kdbatch.vocab.views import View

VIEW = View(num_frames=16)


@pytest.mark.parametrize("rate", [1, 2, 4, 8])
def test_the_target_is_the_span_at_half_the_rate_and_what_does_not_exist_is_masked(
    rate: int,
) -> None:
    place_J, real_J = target_offsets(rate, VIEW)
    clip = [rate * t for t in range(16)]
    assert place_J[::2].tolist() == clip and real_J[::2].all()
    if rate == 1:
        assert not real_J[1::2].any() and place_J[1::2].tolist() == clip
    else:
        assert real_J.all() and place_J.tolist() == [rate // 2 * j for j in range(32)]
    assert place_J.max() < 16 * rate


def test_on_a_view_of_every_third_frame_half_a_step_exists_at_even_rates_only() -> None:
    view = View(num_frames=4, stride_frames=3)
    assert target_offsets(1, view)[1].tolist() == [True, False] * 4
    place_J, real_J = target_offsets(2, view)
    assert place_J.tolist() == [0, 3, 6, 9, 12, 15, 18, 21] and real_J.all()


@pytest.mark.parametrize("rate", [1, 2, 4, 8])
def test_motion_is_looked_for_in_frames_0_5_10_15_of_each_16(rate: int) -> None:
    task = TASKS["prp"].at_complexity(3)
    place_A = motion_offsets(rate, task, VIEW)
    assert place_A[: 4 * rate].tolist() == [16 * g + m for g in range(rate) for m in (0, 5, 10, 15)]
    assert len(place_A) == 32 and set(place_A[4 * rate :]) <= {16 * rate - 1}
    assert motion_offsets(rate, PRP(motion_weighted=False), VIEW).size == 0


@pytest.mark.parametrize("complexity", [1, 2, 3])
def test_a_request_holds_target_and_motion_of_one_span_and_rates_are_balanced(
    complexity: Complexity,
) -> None:
    task = TASKS["prp"].at_complexity(complexity)
    videos = [StoredVideo(None, sample_of(150)) for _ in range(24)]  # type: ignore[arg-type]
    requests, extra = sample_clips(videos, task, VIEW, np.random.default_rng(0))
    assert sorted(extra["rate"]) == sorted(list(range(len(task.rates))) * (24 // len(task.rates)))
    for request, label, real_J in zip(requests, extra["rate"], extra["real"], strict=True):
        rate, frame_J = task.rates[label], request.frame_VT[0]
        start = frame_J[0]
        assert (frame_J[:32] - start).tolist() == target_offsets(rate, VIEW)[0].tolist()
        assert (frame_J[32:] - start).tolist() == motion_offsets(rate, task, VIEW).tolist()
        assert real_J.tolist() == target_offsets(rate, VIEW)[1].tolist() and request.draw_V == (0,)
    assert chance_accuracy(task, 8) == 1 / len(task.rates)
    assert task.window_frames(16) == {1: 32, 2: 64, 3: 128}[complexity]


def test_where_a_clip_lies_in_its_video_does_not_tell_its_rate() -> None:
    """Middles of clips of either rate lie around the same place, and clips of rate 1 reach both
    ends of the window.
    """
    videos = [StoredVideo(None, sample_of(32)) for _ in range(2000)]  # type: ignore[arg-type]
    requests, extra = sample_clips(videos, PRP(), VIEW, np.random.default_rng(0))
    start = np.array([r.frame_VT[0, 0] for r in requests])[extra["rate"] == 0]
    assert start.min() == 0 and start.max() == 16
    assert abs(start.mean() - 8) < 5 * np.sqrt(24 / len(start))  # variance of 0..16 is 24


def _slow_weights(pixels: np.ndarray, window: int, stride: int) -> np.ndarray:
    """For one group of one channel, (M, H, W): window by window, then bilinear by hand."""
    size = pixels.shape[-1]
    places = range(0, size - window + 1, stride)
    table = np.array(
        [
            [
                np.mean(
                    [
                        (
                            pixels[m + 1, y : y + window, x : x + window]
                            - pixels[m, y : y + window, x : x + window]
                        )
                        ** 2
                        for m in range(3)
                    ]
                )
                for x in places
            ]
            for y in places
        ]
    )
    table = 0.8 + 1.2 * (table - table.min()) / (table.max() - table.min())
    out = np.empty((size, size))
    for y in range(size):
        for x in range(size):
            v, u = (
                np.clip((place + 0.5) * len(table) / size - 0.5, 0, len(table) - 1)
                for place in (y, x)
            )
            top, left = int(v), int(u)
            low, right = min(top + 1, len(table) - 1), min(left + 1, len(table) - 1)
            a, b = v - top, u - left
            out[y, x] = (1 - a) * ((1 - b) * table[top, left] + b * table[top, right]) + a * (
                (1 - b) * table[low, left] + b * table[low, right]
            )
    return out


@pytest.mark.parametrize(
    ("size", "window", "stride", "places"), [(112, 28, 7, 13), (48, 12, 3, 13), (32, 8, 2, 13)]
)
def test_motion_weights_are_those_of_a_loop_over_windows(
    size: int, window: int, stride: int, places: int
) -> None:
    assert (size - window) // stride + 1 == places
    torch.manual_seed(0)
    pixels = torch.rand(1, 2, 2, 4, size, size, dtype=torch.float64)
    pixels[..., : size // 3, : size // 2] *= 3
    weight = motion_weights(pixels, torch.tensor([0, 0, 1]))
    assert weight.shape == (1, 2, 3, size, size) and weight.min() >= 0.8 and weight.max() <= 2
    assert torch.equal(weight[:, :, 0], weight[:, :, 1])
    for channel, group in ((0, 0), (1, 1)):
        slow = _slow_weights(pixels[0, channel, group].numpy(), window, stride)
        assert np.allclose(weight[0, channel, 2 * group].numpy(), slow, atol=1e-9)


def test_a_clip_in_which_nothing_moves_has_weight_1_everywhere() -> None:
    still = torch.rand(1, 3, 1, 1, 16, 16).expand(-1, -1, -1, 4, -1, -1)
    assert torch.equal(
        motion_weights(still + 1e-6 * torch.rand(still.shape), torch.zeros(5, dtype=torch.long)),
        torch.ones(1, 3, 5, 16, 16),
    )


def test_each_clip_of_a_batch_of_rates_has_the_target_weights_its_own_groups() -> None:
    task = PRP(rates=(1, 2, 4))
    torch.manual_seed(0)
    pixels, label = torch.rand(4, 3, 16, 16, 16), torch.tensor([2, 0, 1, 2])
    weight = target_weights(pixels, label, task, num_target=8)
    for b in range(4):
        rate = task.rates[label[b]]
        groups = pixels[b : b + 1, :, : 4 * rate].unflatten(2, (rate, 4))
        slow = torch.stack(
            [
                motion_weights(groups[:, :, j * rate // 8, None], torch.tensor([0]))[0, :, 0]
                for j in range(8)
            ],
            1,
        )
        assert torch.allclose(weight[b], slow, atol=1e-6)


class FixedOutput(nn.Module):
    """Returns given outputs, and keeps the clip that it was called with."""

    group = SINGLE_PROCESS

    def __init__(self, logit: Tensor, rebuilt: Tensor) -> None:
        super().__init__()
        self.logit, self.rebuilt = logit, rebuilt

    def forward(self, clip: Tensor) -> tuple[Tensor, Tensor]:
        self.seen = clip
        return self.logit, self.rebuilt


@pytest.mark.parametrize("motion_weighted", [True, False])
def test_the_loss_is_that_of_loops_over_clips_frames_and_pixels(motion_weighted: bool) -> None:
    task = PRP(motion_weighted=motion_weighted)
    torch.manual_seed(1)
    motion = 8 if motion_weighted else 0
    pixels = torch.rand(1, 2, 3, 8 + motion, 16, 16)
    clip = (pixels - torch.tensor(MEAN).view(3, 1, 1, 1)) / torch.tensor(STD).view(3, 1, 1, 1)
    real, label = torch.tensor([[True, False] * 4, [True] * 8]), torch.tensor([0, 1])
    batch = Batch(
        clips=[],
        augment_params=[],
        num_views=1,
        label_B=torch.zeros(2),
        keys=["a", "b"],
        extra={"rate": label, "real": real},
    )
    model = FixedOutput(torch.randn(2, 2), torch.rand(2, 3, 8, 16, 16))
    step = prp_step(model, clip, batch, task)  # type: ignore[arg-type]
    total, count = 0.0, 0
    for b in range(2):
        rate = task.rates[label[b]]
        for j in range(8):
            if not real[b, j]:
                continue
            weight = np.ones((3, 16, 16))
            if motion_weighted:
                group = pixels[0, b, :, 8 + 4 * (j * rate // 8) : 12 + 4 * (j * rate // 8)].double()
                weight = np.stack([_slow_weights(group[c].numpy(), 4, 1) for c in range(3)])
            error = (
                model.rebuilt[b, :, j].double().numpy() - pixels[0, b, :, j].double().numpy()
            ) ** 2
            total, count = total + float((weight * error).sum()), count + error.size
    probability = model.logit.softmax(1).numpy()
    rate_loss = -np.mean([np.log(probability[b, label[b]]) for b in range(2)])
    assert float(step.report["reconstruction"]) == pytest.approx(total / count, rel=1e-4)
    assert float(step.loss) == pytest.approx(total / count + 0.1 * rate_loss, rel=1e-4)
    assert torch.equal(
        model.seen, clip[0, :, :, :8:2]
    )  # the network sees every second target frame, and none that shows the motion
    assert torch.allclose(denormalize(clip), pixels, atol=1e-6)


@pytest.mark.parametrize("kind", ["r21d_10", "shufflenet_2x", "r2plus1d_18"])
@pytest.mark.parametrize(("frames", "size"), [(8, 32), (8, 48), (4, 32), (16, 40)])
def test_the_decoder_fits_any_map_and_any_clip(kind: str, frames: int, size: int) -> None:
    model = PRPModel(PRP(decoder_dim=8), build_backbone(Backbone(kind=kind, width=0.05))).eval()  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        logit, rebuilt = model(torch.randn(1, 3, frames, size, size))
    assert (
        logit.shape == (1, 2)
        and rebuilt.shape == (1, 3, 2 * frames, size, size)
        and rebuilt.min() >= 0
    )


def test_a_map_of_the_sources_width_and_size_is_neither_projected_nor_interpolated() -> None:
    with torch.device("meta"):
        model = PRPModel(PRP(), build_backbone(Backbone(kind="r21d_10")))
        logit, rebuilt = model(torch.empty(2, 3, 16, 112, 112))
    assert (
        isinstance(model.project, nn.Identity)
        and logit.shape == (2, 2)
        and rebuilt.shape == (2, 3, 32, 112, 112)
    )
    assert [stage[1][0].out_channels for stage in model.decoder] == [256, 128, 64, 3]  # type: ignore[index]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"rates": (2,)}, "rates: found"),
        ({"rates": (1, 1)}, "rates"),
        ({"rates": (0, 1)}, "rates"),
        ({"decoder_dim": 20}, "multiple of 8"),
    ],
)
def test_rates_and_decoders_that_make_no_task_are_refused(
    wrong: dict[str, object], says: str
) -> None:
    with pytest.raises(UserError, match=says):
        PRP(**wrong)  # type: ignore[arg-type]
