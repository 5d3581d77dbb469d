import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdbatch.run.retrieve import first_of_class, max_pooled


def _recall(place_Q: torch.Tensor, k: int) -> float:
    return float((place_Q < k).double().mean())


@pytest.mark.parametrize("k", [1, 5, 10, 20, 50])
def test_one_hot_features_find_their_class_always(k: int) -> None:
    gallery_label_G, query_label_Q = torch.arange(60) % 12, torch.arange(300) % 12
    place_Q = first_of_class(torch.eye(12)[query_label_Q], query_label_Q, torch.eye(12)[gallery_label_G], gallery_label_G)
    assert _recall(place_Q, k) == 1.0


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 30))
def test_it_is_what_sorting_every_similarity_gives(seed: int, num_queries: int, num_gallery: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    query_QD = torch.randint(-1, 2, (num_queries, 3), generator=rng).float()  # whole numbers: many are equally similar, some have no length
    gallery_GD = torch.randint(-1, 2, (num_gallery, 3), generator=rng).float()
    query_label_Q = torch.randint(0, 4, (num_queries,), generator=rng)
    gallery_label_G = torch.randint(0, 4, (num_gallery,), generator=rng)
    unit = [torch.nn.functional.normalize(x, dim=1) for x in (query_QD, gallery_GD)]
    near_QG = unit[0] @ unit[1].T
    expected = []
    for q in range(num_queries):
        order = sorted(range(num_gallery), key=lambda g: (-float(near_QG[q, g]), g))
        expected.append(next((i for i, g in enumerate(order) if gallery_label_G[g] == query_label_Q[q]), num_gallery))
    assert first_of_class(query_QD, query_label_Q, gallery_GD, gallery_label_G).tolist() == expected


def test_only_the_direction_of_a_feature_counts() -> None:
    rng = torch.Generator().manual_seed(0)
    query_QD, gallery_GD = torch.randn(2, 40, 5, generator=rng)
    label = torch.arange(40) % 4
    lengths_1 = torch.rand(40, 1, generator=rng) + 0.1
    assert torch.equal(first_of_class(query_QD, label, gallery_GD, label), first_of_class(query_QD, label, gallery_GD * lengths_1, label))


def test_a_class_that_the_gallery_lacks_is_found_nowhere() -> None:
    assert first_of_class(torch.eye(2), torch.tensor([0, 7]), torch.eye(2), torch.tensor([0, 1])).tolist() == [0, 2]


@pytest.mark.parametrize(("shape", "pooled"), [((512, 2, 7, 7), 9216), ((1920, 1, 4, 4), 7680), ((8, 2, 1, 1), 16)])
def test_the_pooled_map_has_the_sources_size(shape: tuple[int, ...], pooled: int) -> None:
    map_BDTHW = torch.randn(1, *shape)
    found = max_pooled(map_BDTHW)
    assert found.numel() == pooled
    assert found[0, 0, 0, 0, 0] == map_BDTHW[0, 0, 0, :2, :2].max()
