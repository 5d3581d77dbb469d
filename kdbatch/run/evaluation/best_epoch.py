"""Model selection: keep an epoch by its accuracy on videos held out of the training split.

So the test split is read once, at the end.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from kdbatch.base.errors import UserError
from kdbatch.result.read import read_rows
from kdbatch.result.write import Measure
from kdbatch.run.context import RunContext
from kdbatch.run.data.batch import StoredVideo
from kdbatch.run.evaluation.predict import predict
from kdbatch.run.rng import rng_for
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.shards.subset import Subset

_log = logging.getLogger(__name__)


def hold_out(
    videos: Sequence[StoredVideo], *, share: float, subset: Subset
) -> tuple[list[StoredVideo], list[StoredVideo]]:
    """(videos to train on, videos held out), both in stored order.

    The choice depends on the subset alone, so it is the same for teachers and students. Groups stay
    whole: their videos share a scene, which a network that trained on one would recognise in the
    others. Groups come in a random order; one is held out if that brings the classes nearer to
    `share` of each, if not more than `share` of all videos are then out, and if no class loses all
    of its videos.

    Raises:
        UserError: no group can be held out.
    """
    num_total = _per_class(videos)
    groups: dict[str, list[StoredVideo]] = {}
    for video in videos:
        groups.setdefault(video.sample.group, []).append(video)
    num_out = dict.fromkeys(num_total, 0)
    held_out: set[str] = set()
    names = sorted(groups)
    for i in rng_for(0, "held out", subset.digest).permutation(len(names)):
        group = _per_class(groups[names[i]])
        num_if_out = {label: num_out[label] + n for label, n in group.items()}
        distance_change = 0.0
        for label, n in num_if_out.items():
            wanted = share * num_total[label]
            distance_change += abs(n - wanted) - abs(num_out[label] - wanted)
        fits = sum(num_out.values()) + sum(group.values()) <= round(share * len(videos))
        keeps_classes = all(n < num_total[label] for label, n in num_if_out.items())
        if distance_change < 0 and fits and keeps_classes:
            held_out.add(names[i])
            num_out |= num_if_out
    if not held_out:
        raise UserError(
            f"{subset.title}: selection.share {share:g} holds no video out: "
            f"{len(videos)} videos in {len(groups)} groups have no group small enough. Raise the "
            "share, or leave selection out of the profile to keep the last epoch."
        )
    training = [video for video in videos if video.sample.group not in held_out]
    return training, [video for video in videos if video.sample.group in held_out]


def _per_class(videos: Sequence[StoredVideo]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for video in videos:
        counts[video.sample.label] = counts.get(video.sample.label, 0) + 1
    return counts


def held_out_accuracy(folder: RunFolder) -> float:
    """The accuracy of a finished run on held-out videos, from 0 to 1.

    Raises:
        UserError: it has none, or its results cannot be read.
    """
    found = read_rows(folder.path.parent, [folder.id])
    values = {row["name"]: row["value"] for row in found.frame.to_dicts()}
    if "held_out_top1" not in values:
        reason = found.warnings[0] if found.warnings else f"{folder.rows}: has no held_out_top1."
        raise UserError(f"{reason} A student is to have the same accuracy on held-out videos.")
    return values["held_out_top1"] / 100


class BestEpoch:
    """Evaluates a model after its epochs and keeps the best weights (an EpochCallback), or those
    whose accuracy is nearest to `wanted`; the earliest of equal epochs.

    They are saved in the checkpoint together with the training that led to them, so a resumed run
    keeps the epoch that an uninterrupted one would.
    """

    def __init__(
        self,
        model: nn.Module,
        held_out: Sequence[StoredVideo],
        *,
        recipe: Finetune | Distill,
        context: RunContext,
        wanted: float | None = None,
    ) -> None:
        assert recipe.selection is not None
        self._wanted = wanted
        self._model, self._held_out, self._recipe, self._context = model, held_out, recipe, context
        self._selection = recipe.selection
        self.epoch, self.score, self.weights = 0, -1.0, dict[str, Tensor]()

    def on_epoch_end(self, epoch: int) -> Mapping[str, float]:
        if epoch % self._selection.every_epochs and epoch != self._recipe.schedule.epochs:
            return {}
        found = predict(
            self._model,
            self._held_out,
            view=self._recipe.view,
            num_clips=self._selection.num_clips,
            num_crops=1,
            context=self._context,
            may_stop=False,  # the epoch that led here is not saved yet
        )
        score = found.top_share(1)
        if self._is_better(score):
            self.epoch, self.score = epoch, score
            self.weights = {
                name: value.detach().clone() for name, value in self._model.state_dict().items()
            }
        return {"held_out_accuracy": score}

    def _is_better(self, score: float) -> bool:
        if self._wanted is None or self.score < 0:
            return score > self.score
        return abs(score - self._wanted) < abs(self.score - self._wanted)

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "score": self.score, "weights": self.weights}

    def load_state_dict(self, memory: dict[str, Any]) -> None:
        self.epoch, self.score, self.weights = memory["epoch"], memory["score"], memory["weights"]

    def restore(self) -> list[Measure]:
        """Load the best weights into the model; measures of which epoch they are from."""
        self._model.load_state_dict(self.weights)
        _log.info(
            "keeps epoch %d of %d, the %s on held-out videos: %.1f %% of %d",
            self.epoch,
            self._recipe.schedule.epochs,
            "best" if self._wanted is None else f"nearest to {100 * self._wanted:.1f} %",
            100 * self.score,
            len(self._held_out),
        )
        where = f"{self._recipe.data.title} (held out)"
        return [
            Measure(name="held_out_top1", value=100 * self.score, unit="percent", subset=where),
            Measure(name="held_out_videos", value=len(self._held_out), unit="count", subset=where),
            Measure(name="best_epoch", value=self.epoch, unit="count", subset=where),
        ]
