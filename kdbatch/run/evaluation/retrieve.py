"""Video retrieval with the features of a pretrained backbone: test videos query training videos.

Xu et al. 2019 (VCOP), sec. 4.4, and its retrieve_clips.py: features of several clips, averaged,
each the centre of 112 pixels of 128; cosine similarity; the network as it was pretrained, in
evaluation mode. Every video counts: no batch is dropped. Axes: Q queries, G gallery videos, B
videos of a batch, V views of each, D features.
"""

import logging
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from kdbatch.result.schema import ROWS
from kdbatch.result.write import Measure, write_measures
from kdbatch.run.checkpoint import load_weights
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import load_videos
from kdbatch.run.evaluation.predict import network_to_infer, predict_each_video
from kdbatch.run.models import VideoBackbone, build_backbone
from kdbatch.run.rng import seed_for
from kdbatch.run.weights import checked_weights
from kdbatch.vocab.done import StageFacts
from kdbatch.vocab.recipes.retrieve import Retrieve
from kdbatch.vocab.runs.folder import Assignment
from kdbatch.vocab.shards.subset import Subset

QUERIES_AT_ONCE = 256
_log = logging.getLogger(__name__)


def retrieve(recipe: Retrieve, assignment: Assignment, context: RunContext) -> StageFacts:
    """R@k with two features, `recall_at_k` and `maxpool_recall_at_k`.

    The first is the pooled feature that heads see, the second VCOP's: the last map, max-pooled 2x2
    in space (9216 numbers for R(2+1)D at 112 pixels).
    """
    torch.manual_seed(seed_for(assignment.run.seed, "weights"))
    backbone = build_backbone(recipe.backbone)
    for parent in assignment.run.parents:
        load_weights(checked_weights(context.folder.parent(parent)), backbone)
    backbone = network_to_infer(backbone.to(context.device), context)
    assert isinstance(backbone, VideoBackbone)
    shards_dir = Path(assignment.shards_dir)
    gallery, gallery_label_G = subset_features(backbone, recipe.data, recipe, shards_dir, context)
    queries, query_label_Q = subset_features(
        backbone, recipe.evaluation.test, recipe, shards_dir, context
    )
    test, train = recipe.evaluation.test.title, recipe.data.title
    measures = []
    for prefix, query_QD, gallery_GD in zip(("", "maxpool_"), queries, gallery, strict=True):
        rank_Q = rank_of_class(query_QD, query_label_Q, gallery_GD, gallery_label_G)
        for k in recipe.ranks:
            percent = 100 * float((rank_Q < k).double().mean())
            name = f"{prefix}recall_at_{k}"
            measures.append(Measure(name=name, value=percent, unit="percent", subset=test))
    recalls = [f"R@{k} {m.value:.1f} %" for k, m in zip(recipe.ranks, measures, strict=False)]
    result = f"{', '.join(recalls)}: {len(query_label_Q)} test videos"
    _log.info("%s against %d training videos", result, len(gallery_label_G))
    context.reporter.show(f"test {recalls[0]}" if recalls else "")
    counts = (("test_videos", query_label_Q, test), ("gallery_videos", gallery_label_G, train))
    for name, label_N, subset in counts:
        measures.append(Measure(name=name, value=len(label_N), unit="count", subset=subset))
    if context.group.is_rank0:
        write_measures(context.folder.rows, context.folder.id, measures, schema=ROWS)
    return StageFacts(num_queries=len(query_label_Q), num_gallery=len(gallery_label_G))


def rank_of_class(
    query_QD: Tensor, query_label_Q: Tensor, gallery_GD: Tensor, gallery_label_G: Tensor
) -> Tensor:
    """How many gallery videos are more similar to each query than the first of its own class.

    G where there is none of its class. Cosine similarity in float32; equally similar videos are
    ranked in gallery order.
    """
    gallery_GD = F.normalize(gallery_GD, dim=1)
    rank_Q = []
    for query_SD, label_S in zip(
        query_QD.split(QUERIES_AT_ONCE), query_label_Q.split(QUERIES_AT_ONCE), strict=True
    ):
        near_SG = F.normalize(query_SD, dim=1) @ gallery_GD.T
        own_SG = label_S[:, None] == gallery_label_G
        best_S1 = near_SG.masked_fill(~own_SG, -torch.inf).amax(1, keepdim=True)
        is_best_SG = own_SG & (near_SG == best_S1)
        first_S1 = is_best_SG.int().argmax(1, keepdim=True)  # the earliest of equals
        earlier_SG = torch.arange(len(gallery_GD)) < first_S1
        rank_Q.append(((near_SG > best_S1) | ((near_SG == best_S1) & earlier_SG)).sum(1))
    return torch.cat(rank_Q)


def subset_features(
    backbone: VideoBackbone, subset: Subset, recipe: Retrieve, shards_dir: Path, context: RunContext
) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """((mean-pooled, max-pooled), labels) of a subset; features are averaged over views."""
    videos, _ = load_videos(shards_dir, subset, view=recipe.view)

    def both(clip_BCTHW: Tensor) -> Tensor:
        map_BDTHW = backbone.forward_features(clip_BCTHW)
        return torch.cat(
            [backbone.pool(map_BDTHW).flatten(1).float(), max_pooled(map_BDTHW).flatten(1).float()],
            1,
        )

    features, labels = [], []
    num_clips, num_crops, center = (
        recipe.evaluation.num_clips,
        recipe.evaluation.num_crops,
        recipe.view.augment,
    )
    for batch, feature_VBD in predict_each_video(
        both,
        videos,
        view=recipe.view,
        num_clips=num_clips,
        num_crops=num_crops,
        center=center,
        context=context,
        networks=[backbone],
    ):
        features.append(feature_VBD.mean(0))
        labels.append(batch.label_B)
    feature_ND, label_N = (context.group.all_gather_rows(torch.cat(x)) for x in (features, labels))
    return (feature_ND[:, : backbone.feature_dim], feature_ND[:, backbone.feature_dim :]), label_N


def max_pooled(map_BDTHW: Tensor) -> Tensor:
    """Maximum over windows of 2x2 in space, without overlap; a smaller map has one window."""
    window = [min(2, size) for size in map_BDTHW.shape[-2:]]
    return F.max_pool3d(map_BDTHW, (1, *window))
