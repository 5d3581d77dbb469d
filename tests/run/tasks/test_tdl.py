import math
from collections import Counter

import numpy as np
import pytest
import torch
from support import tasks as world
from torch import Tensor

from kdbatch.run.data.batches import Batch
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.tasks.momentum import MomentumEncoders
from kdbatch.run.tasks.tdl import build_model, draw_starts, mix_in_frame, sample_clips, tdl_step
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.tasks.tdl import TDL
from kdbatch.vocab.views import View

VIEW = View(num_frames=8, stride_frames=2)
CLIP = 16
SMALL = TDL(queue_size=8, embedding_dim=4, key_momentum=1.0)


def model_of(task: TDL) -> MomentumEncoders:
    torch.manual_seed(0)
    return build_model(task, world.TinyBackbone, SINGLE_PROCESS)


def batch_of(num: int, *, share: float = 0.0) -> Batch:
    share_B = np.full(num, share, dtype=np.float32)
    return world.batch_of(range(num), mix_frame=np.arange(num) % 2, mix_share=share_B)


def embedded(model: MomentumEncoders, clip_VBCTHW: Tensor) -> list[Tensor]:
    return [model.query(clip)[0].detach().double() for clip in clip_VBCTHW]


@pytest.mark.parametrize("complexity", [1, 2, 3])
def test_anchor_and_positive_are_the_same_frames_and_the_negative_is_far_enough_from_them(
    complexity: int,
) -> None:
    task = TASKS["tdl"].at_complexity(complexity)  # type: ignore[arg-type]
    lengths = [32, 33, 47, 80, 151] * 40
    requests, extra = sample_clips(world.videos(*lengths), task, VIEW, np.random.default_rng(0))
    least = {1: [-(-n // 2) for n in lengths], 2: [CLIP] * 200, 3: [4] * 200}[complexity]
    gaps = []
    for request, gap in zip(requests, least, strict=True):
        anchor, positive, negative = request.frame_VT
        assert np.array_equal(anchor, positive) and request.draw_V == (0, 1, 2)
        gaps.append(abs(int(anchor[0]) - int(negative[0])))
        assert gaps[-1] >= gap
    assert min(gaps) == min(least)  # as near as allowed
    assert (
        extra["mix_share"].min() >= 0
        and 0.09 < extra["mix_share"].max() <= 0.1
        and set(extra["mix_frame"]) == set(range(8))
    )


def test_complexities_1_and_2_share_no_frame() -> None:
    for complexity in (1, 2):
        requests, _ = sample_clips(
            world.videos(*range(32, 132)),
            TASKS["tdl"].at_complexity(complexity),
            VIEW,
            np.random.default_rng(0),
        )
        assert all(
            not set(range(r.frame_VT[0, 0], r.frame_VT[0, -1] + 1)) & set(r.frame_VT[2])
            for r in requests
        )


def test_all_complexities_need_the_same_videos() -> None:
    assert {TASKS["tdl"].at_complexity(c).window_frames(64) for c in (1, 2, 3)} == {128}


def test_every_pair_of_starts_is_equally_likely() -> None:
    rng = np.random.default_rng(0)
    task, last = TASKS["tdl"].at_complexity(3), 9
    found = Counter(draw_starts(task, VIEW.window_frames + last, VIEW, rng) for _ in range(8000))
    possible = {(a, n) for a in range(last + 1) for n in range(last + 1) if abs(a - n) >= 4}
    assert found.keys() == possible
    expected = 8000 / len(possible)
    squares = sum((found[pair] - expected) ** 2 / expected for pair in possible)
    freedom = len(possible) - 1
    assert squares < freedom + 2.6 * math.sqrt(2 * freedom)  # chi-square at 0.5 %


def test_the_anchor_keeps_the_direction_of_its_motion() -> None:
    clip = torch.randn(4, 3, 5, 2, 2)
    frame_B, share_B = torch.tensor([0, 4, 2, 2]), torch.tensor([0.1, 0.05, 0.0, 1.0])
    mixed = mix_in_frame(clip, frame_B, share_B)
    for b in range(4):
        for t in range(5):
            expected = (1 - share_B[b]) * clip[b, :, t] + share_B[b] * clip[b, :, frame_B[b]]
            assert torch.allclose(mixed[b, :, t], expected, atol=1e-6)
    assert torch.allclose(
        mixed.diff(dim=2), clip.diff(dim=2) * (1 - share_B).view(-1, 1, 1, 1, 1), atol=1e-6
    )


def test_only_the_anchor_is_mixed() -> None:
    model, seen = model_of(SMALL), []
    for backbone in (model.backbone, model.key_backbone):
        conv = world.tiny(backbone).conv
        conv.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    clip = torch.randn(3, 4, 3, 2, 4, 4)
    tdl_step(model, clip, batch_of(4, share=0.1), SMALL)
    queried, *groups = seen
    assert torch.equal(queried[4:], clip[2]) and not torch.equal(queried[:4], clip[0])
    assert sorted(torch.cat(groups).flatten().tolist()) == sorted(clip[1].flatten().tolist())


def test_infonce_is_its_definition_in_loops() -> None:
    model, clip = model_of(SMALL).eval(), torch.randn(3, 6, 3, 2, 4, 4)
    model.queue.push(torch.eye(4), torch.tensor([3, 9, 5, 3]))
    queue, of = model.queue.key_QD.double(), model.queue.video_Q.tolist()
    q, k, n = embedded(model, clip)
    expected, nearer, nearest = 0.0, 0, 0
    for b in range(6):
        others = [float(q[b] @ n[b])] + [
            float(q[b] @ queue[place]) for place in range(8) if of[place] != b
        ]
        own = float(q[b] @ k[b])
        expected -= (
            math.log(
                math.exp(own / 0.07)
                / (math.exp(own / 0.07) + sum(math.exp(o / 0.07) for o in others))
            )
            / 6
        )
        nearer, nearest = nearer + (own > others[0]), nearest + (own > max(others))
    step = tdl_step(model, clip, batch_of(6), SMALL)
    assert float(step.loss.detach()) == pytest.approx(expected, rel=1e-5)
    assert float(step.report["accuracy"]) == pytest.approx(nearer / 6) and float(
        step.report["retrieved"]
    ) == pytest.approx(nearest / 6)


def test_the_triplet_is_a_margin_between_distances() -> None:
    task = TDL(queue_size=8, embedding_dim=4, key_momentum=1.0, loss="triplet", margin=0.02)
    model, clip = model_of(task).eval(), torch.randn(3, 6, 3, 2, 4, 4)
    expected = [
        max(0.0, 0.02 + float((q - k).norm()) - float((q - n).norm()))
        for q, k, n in zip(*embedded(model, clip))
    ]
    assert float(tdl_step(model, clip, batch_of(6), task).loss.detach()) == pytest.approx(
        sum(expected) / 6, abs=1e-5
    )
    assert 0 < sum(value > 0 for value in expected) < 6


@pytest.mark.parametrize("loss", ["infonce", "triplet"])
def test_the_negative_has_a_gradient_and_the_key_has_none(loss: str) -> None:
    task = TDL(queue_size=8, embedding_dim=4, loss=loss)  # type: ignore[arg-type]
    model = model_of(task)
    clip = torch.randn(3, 6, 3, 2, 4, 4, requires_grad=True)
    tdl_step(model, clip, batch_of(6), task).loss.backward()
    assert clip.grad is not None
    anchor, positive, negative = (float(view.abs().sum()) for view in clip.grad)
    assert anchor > 0 and negative > 0 and positive == 0
    assert all(p.grad is None for p in model.key_parameters()) and all(
        p.grad is not None for p in model.query_parameters()
    )


def test_the_queue_takes_the_positives_keys() -> None:
    model, clip = model_of(SMALL).eval(), torch.randn(3, 6, 3, 2, 4, 4)
    tdl_step(model, clip, batch_of(6), SMALL)
    assert torch.allclose(
        model.queue.key_QD[:6], model.keys(clip[1:2])[0, 0]
    ) and model.queue.video_Q.tolist()[:6] == list(range(6))
