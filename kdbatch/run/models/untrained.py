"""Classifiers with the random weights that their training starts from."""

import torch

from kdbatch.run.models import Classifier, build_backbone
from kdbatch.run.rng import seed_for
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.shards import Subset


def new_classifier(
    backbone: Backbone, data: Subset, *, seed: int, dropout: float = 0.0
) -> Classifier:
    """A classifier of the classes of `data`, whose weights depend only on the seed and the
    architecture. A student and its labels-only control therefore start from equal weights.
    """
    torch.manual_seed(seed_for(seed, "weights"))
    return Classifier(build_backbone(backbone), num_classes=data.num_classes, dropout=dropout)
