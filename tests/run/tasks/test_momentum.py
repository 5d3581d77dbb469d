import math

import pytest
import torch
from support import tasks as world
from support.networks import classifier
from torch import Tensor, nn

from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.tasks.momentum import KeyQueue, MomentumEncoders, info_nce
from kdbatch.vocab.tasks import TASKS


def encoders(
    *, key_momentum: float = 0.9, num_heads: int = 2, queue_size: int = 8
) -> MomentumEncoders:
    torch.manual_seed(0)
    return MomentumEncoders(
        world.TinyBackbone,
        SINGLE_PROCESS,
        num_heads=num_heads,
        embedding_dim=4,
        queue_size=queue_size,
        key_momentum=key_momentum,
    )


def test_the_key_encoder_is_the_exact_moving_average_of_the_query_encoders_parameters() -> None:
    """Small fractions of powers of two are added and divided by 4 without rounding: not a bit may
    differ.
    """
    model = encoders(key_momentum=0.75)
    chance = torch.Generator().manual_seed(1)
    expected = [_draw_eighths(p, chance) for p in model.key_parameters()]
    for _ in range(5):
        drawn = [_draw_eighths(p, chance) for p in model.query_parameters()]
        model.update_key_encoder()
        expected = [0.75 * old + 0.25 * new for old, new in zip(expected, drawn, strict=True)]
    assert all(
        torch.equal(key.double(), average)
        for key, average in zip(model.key_parameters(), expected, strict=True)
    )


@torch.no_grad()
def _draw_eighths(parameter: nn.Parameter, chance: torch.Generator) -> Tensor:
    """Give a parameter multiples of 1/8 from -2 to 2; the same in double precision."""
    return parameter.copy_(torch.randint(-16, 17, parameter.shape, generator=chance) / 8).double()


def test_at_the_studys_momentum_a_thousand_steps_are_the_closed_form() -> None:
    """A query that stands still at q leaves m^n of the distance that the key began with."""
    momentum = TASKS["rspnet"].at_complexity(1).key_momentum  # type: ignore[union-attr]
    model = encoders(key_momentum=momentum).double()
    start = [p.clone() for p in model.key_parameters()]
    with torch.no_grad():
        for p in model.query_parameters():
            p.add_(torch.randn_like(p))
    for _ in range(1000):
        model.update_key_encoder()
    for key, old, query in zip(
        model.key_parameters(), start, model.query_parameters(), strict=True
    ):
        assert torch.allclose(key, query + momentum**1000 * (old - query), rtol=0, atol=1e-12)


def test_both_encoders_start_equal_and_every_parameter_is_followed() -> None:
    model = encoders()
    assert all(
        torch.equal(k, q)
        for k, q in zip(model.key_parameters(), model.query_parameters(), strict=True)
    )
    names = {
        name.removeprefix("key_") for name, p in model.named_parameters() if not p.requires_grad
    }
    assert names == {name for name, p in model.named_parameters() if p.requires_grad}
    assert len(model.key_parameters()) == len(names)


def test_batch_statistics_are_each_encoders_own() -> None:
    model = encoders(key_momentum=0.0)
    clip = torch.randn(6, 3, 2, 4, 4)
    query_mean, key_mean = (
        world.tiny(backbone).bn.running_mean for backbone in (model.backbone, model.key_backbone)
    )
    assert query_mean is not None and key_mean is not None
    model.query(clip)
    after_query = query_mean.clone()
    assert torch.equal(key_mean, torch.zeros(6)) and not torch.equal(after_query, torch.zeros(6))
    model.keys(10 * clip[None])
    model.update_key_encoder()
    assert torch.equal(query_mean, after_query) and not torch.equal(key_mean, after_query)


def test_keys_come_back_in_their_order_and_without_gradient() -> None:
    model = encoders().eval()  # in evaluation mode the groups cannot matter
    clip = torch.randn(2, 5, 3, 2, 4, 4)
    key_VHBD = model.keys(clip)
    assert key_VHBD.shape == (2, 2, 5, 4) and not key_VHBD.requires_grad
    assert torch.allclose(
        key_VHBD, torch.cat([model.keys(clip[:, i : i + 1]) for i in range(5)], 2), atol=1e-6
    )
    assert torch.allclose(key_VHBD, torch.stack([model.query(view) for view in clip]), atol=1e-6)
    assert torch.allclose(key_VHBD.norm(dim=-1), torch.ones(2, 2, 5))


@pytest.mark.parametrize(("num_videos", "sizes"), [(8, [4, 4]), (5, [3, 2]), (3, [3]), (1, [1])])
def test_keys_are_normalised_in_two_groups_of_whole_videos_unless_one_would_be_a_video_alone(
    num_videos: int, sizes: list[int]
) -> None:
    model, seen = encoders(), []
    conv = world.tiny(model.key_backbone).conv
    conv.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    clip = torch.randn(2, num_videos, 3, 2, 4, 4)
    model.keys(clip)
    assert [len(group) for group in seen] == [2 * size for size in sizes]
    known = {
        tuple(clip[v, b].flatten().tolist()): (v, b) for v in range(2) for b in range(num_videos)
    }
    groups = [[known[tuple(row.flatten().tolist())] for row in group] for group in seen]
    assert sorted(row for group in groups for row in group) == sorted(known.values())
    for group in groups:
        assert {b for v, b in group if v == 0} == {b for v, b in group if v == 1}


def test_the_groups_are_drawn_anew_every_time() -> None:
    model = encoders()
    clip = torch.randn(1, 8, 3, 2, 4, 4)
    assert len({tuple(model.keys(clip).flatten().tolist()) for _ in range(6)}) > 1


def test_a_key_encoder_leaves_no_block_out_and_a_query_encoder_does() -> None:
    model = MomentumEncoders(
        lambda: classifier("swin3d_t").backbone,
        SINGLE_PROCESS,
        num_heads=1,
        embedding_dim=4,
        queue_size=8,
        key_momentum=0.9,
    )
    chances = [
        sorted({m.p for m in encoder.modules() if isinstance(m, nn.Dropout)})
        for encoder in (model.backbone, model.key_backbone)
    ]
    assert chances[0][-1] == pytest.approx(0.1) and chances[1] == [0.0]


def test_the_queue_wraps_and_begins_with_unit_vectors_of_no_video() -> None:
    queue = KeyQueue(8, 4)
    assert (
        torch.allclose(queue.key_QD.norm(dim=1), torch.ones(8))
        and queue.video_Q.tolist() == [-1] * 8
    )
    first, second = torch.eye(4).repeat(2, 1)[:5], -torch.eye(4).repeat(2, 1)[:5]
    queue.push(first, torch.arange(5))
    queue.push(second, torch.arange(10, 15))
    assert torch.equal(queue.key_QD, torch.cat([second[3:], first[2:], second[:3]]))
    assert queue.video_Q.tolist() == [13, 14, 2, 3, 4, 10, 11, 12] and int(queue.next_place) == 2


def test_a_batch_that_is_longer_than_the_queue_leaves_its_last_keys() -> None:
    queue = KeyQueue(4, 2)
    queue.push(torch.arange(14.0).view(7, 2), torch.arange(7))
    assert (
        queue.video_Q.tolist() == [3, 4, 5, 6]
        and queue.key_QD[:, 0].tolist() == [6, 8, 10, 12]
        and int(queue.next_place) == 0
    )


def test_keys_of_a_querys_own_video_are_no_negatives() -> None:
    queue = KeyQueue(6, 4)
    queue.push(torch.randn(4, 4), torch.tensor([7, 8, 7, 9]))
    query = torch.randn(3, 4, requires_grad=True)
    found = queue.similarities(query, torch.tensor([7, 9, 1]))
    assert found.isinf().tolist() == [
        [True, False, True, False, False, False],
        [False] * 3 + [True, False, False],
        [False] * 6,
    ]
    assert torch.allclose(found[2], query[2] @ queue.key_QD.T)
    info_nce(torch.zeros(3), found, temperature=0.1).backward()
    assert query.grad is not None and query.grad.isfinite().all()


def test_a_push_after_the_loss_leaves_its_gradient_alone() -> None:
    queue, query = KeyQueue(6, 4), torch.randn(3, 4, requires_grad=True)
    before = queue.key_QD.clone()
    loss = queue.similarities(query, torch.arange(3)).sum()
    queue.push(torch.ones(6, 4), torch.arange(6))
    loss.backward()
    assert query.grad is not None
    assert torch.allclose(query.grad, before.sum(0).expand(3, 4), atol=1e-6)


def test_info_nce_is_the_slow_sum_over_negatives() -> None:
    made = torch.Generator().manual_seed(1)
    positive_B = torch.rand(5, generator=made, dtype=torch.float64)
    negative_BQ = torch.rand(5, 9, generator=made, dtype=torch.float64)
    negative_BQ[1, 3] = -math.inf
    assert float(info_nce(positive_B, negative_BQ, temperature=0.07)) == pytest.approx(
        slow_info_nce(positive_B, negative_BQ, 0.07), rel=1e-12
    )


def slow_info_nce(positive_B: Tensor, negative_BQ: Tensor, temperature: float) -> float:
    losses = []
    for positive, row in zip(positive_B.tolist(), negative_BQ.tolist()):
        total = math.exp(positive / temperature) + sum(
            math.exp(value / temperature) for value in row
        )
        losses.append(-math.log(math.exp(positive / temperature) / total))
    return sum(losses) / len(losses)
