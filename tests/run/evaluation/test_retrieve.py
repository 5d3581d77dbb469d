from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support import clips as world

from kdbatch.run.context import RunContext
from kdbatch.run.data.augment import apply_augment
from kdbatch.run.data.augment_params import sample_augment
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.sampling import evenly_spaced_clips
from kdbatch.run.evaluation.retrieve import max_pooled, rank_of_class, subset_features
from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.run.models import build_backbone
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.retrieve import Retrieve
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import find_subset
from kdbatch.vocab.views import INNER_CROP


def _recall(place_Q: torch.Tensor, k: int) -> float:
    return float((place_Q < k).double().mean())


@pytest.mark.parametrize("k", [1, 5, 10, 20, 50])
def test_one_hot_features_find_their_class_always(k: int) -> None:
    gallery_label_G, query_label_Q = torch.arange(60) % 12, torch.arange(300) % 12
    place_Q = rank_of_class(
        torch.eye(12)[query_label_Q], query_label_Q, torch.eye(12)[gallery_label_G], gallery_label_G
    )
    assert _recall(place_Q, k) == 1.0


@given(st.integers(0, 2**32), st.integers(1, 20), st.integers(1, 30))
def test_it_is_what_sorting_every_similarity_gives(
    seed: int, num_queries: int, num_gallery: int
) -> None:
    rng = torch.Generator().manual_seed(seed)
    query_QD = torch.randint(
        -1, 2, (num_queries, 3), generator=rng
    ).float()  # whole numbers: many are equally similar, some have no length
    gallery_GD = torch.randint(-1, 2, (num_gallery, 3), generator=rng).float()
    query_label_Q = torch.randint(0, 4, (num_queries,), generator=rng)
    gallery_label_G = torch.randint(0, 4, (num_gallery,), generator=rng)
    unit = [torch.nn.functional.normalize(x, dim=1) for x in (query_QD, gallery_GD)]
    near_QG = unit[0] @ unit[1].T
    expected = []
    for q in range(num_queries):
        order = sorted(range(num_gallery), key=lambda g: (-float(near_QG[q, g]), g))
        expected.append(
            next(
                (i for i, g in enumerate(order) if gallery_label_G[g] == query_label_Q[q]),
                num_gallery,
            )
        )
    assert rank_of_class(query_QD, query_label_Q, gallery_GD, gallery_label_G).tolist() == expected


def test_only_the_direction_of_a_feature_counts() -> None:
    rng = torch.Generator().manual_seed(0)
    query_QD, gallery_GD = torch.randn(2, 40, 5, generator=rng)
    label = torch.arange(40) % 4
    lengths_1 = torch.rand(40, 1, generator=rng) + 0.1
    assert torch.equal(
        rank_of_class(query_QD, label, gallery_GD, label),
        rank_of_class(query_QD, label, gallery_GD * lengths_1, label),
    )


def test_a_class_that_the_gallery_lacks_is_found_nowhere() -> None:
    assert rank_of_class(
        torch.eye(2), torch.tensor([0, 7]), torch.eye(2), torch.tensor([0, 1])
    ).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("shape", "pooled"), [((512, 2, 7, 7), 9216), ((1920, 1, 4, 4), 7680), ((8, 2, 1, 1), 16)]
)
def test_the_pooled_map_has_the_sources_size(shape: tuple[int, ...], pooled: int) -> None:
    map_BDTHW = torch.randn(1, *shape)
    found = max_pooled(map_BDTHW)
    assert found.numel() == pooled
    assert found[0, 0, 0, 0, 0] == map_BDTHW[0, 0, 0, :2, :2].max()


def test_one_crop_is_the_centre_that_the_recipe_names(all_shards: Path, tmp_path: Path) -> None:
    """112 pixels of 128: a frame's short side gives 7/8."""
    subset = find_subset(load_index(all_shards, "k400"), "train", "all", where="k400")
    network, view = (
        Backbone(kind="shufflenet_2x", width=0.0625),
        replace(world.VIEW, augment=INNER_CROP),
    )
    recipe = Retrieve(
        backbone=network, data=subset, view=view, evaluation=Evaluation(test=subset, num_clips=2)
    )
    backbone, cpu = build_backbone(network).eval(), torch.device("cpu")
    pulse = StatusReporter(RunFolder(tmp_path), device="cpu", stop=StopSignal())
    worker = RunContext(
        folder=RunFolder(tmp_path),
        reporter=pulse,
        device=cpu,
        num_workers=0,
        clip_reader=ClipReader(decoder="pyav"),
    )
    (found_ND, _), _ = subset_features(backbone, subset, recipe, all_shards, worker)
    for video, found_D in zip(world.videos_of(all_shards), found_ND, strict=True):
        height, width = video.sample.height, video.sample.width
        side = round(min(height, width) * 7 / 8)
        top, left = (height - side) // 2, (width - side) // 2
        draw = sample_augment(INNER_CROP, height=height, width=width, rng=np.random.default_rng(0))
        frame_VT = evenly_spaced_clips(video.sample, view, 2).frame_VT
        frame_NHWC = world.read_frames(
            video.tar, video.sample, frame_VT.ravel().tolist(), clip_reader=worker.clip_reader
        )
        cut_VTHWC = torch.from_numpy(
            frame_NHWC[:, top : top + side, left : left + side].copy()
        ).unflatten(0, frame_VT.shape)
        clip_VCTHW = apply_augment(
            list(cut_VTHWC), [draw] * 2, size_pixels=view.size_pixels, device=cpu
        )
        with torch.no_grad():
            assert torch.allclose(found_D, backbone.forward_pooled(clip_VCTHW).mean(0), atol=1e-5)
