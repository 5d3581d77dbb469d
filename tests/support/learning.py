"""Pretrains a network at the scale of the toy profile, and evaluates it on unseen videos."""

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
import yaml

from kdbatch.base.progress import silent
from kdbatch.plan.resolve import make_plan
from kdbatch.run.checkpoint import load_checkpoint
from kdbatch.run.context import RunContext
from kdbatch.run.data.batches import TrainingBatches, load_videos
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.distributed.process_group import SINGLE_PROCESS
from kdbatch.run.heartbeat import StatusReporter, StopSignal
from kdbatch.run.models import build_backbone
from kdbatch.run.stages import pretrain
from kdbatch.run.tasks import PRETEXTS
from kdbatch.shard.build import build_shards
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.config import Config, Paths
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards.index import load_index
from kdbatch.vocab.shards.subset import find_subset
from support.inputs import JOBS

SIZE = ToySize(
    k400_val=4,
    ssv2_train=1,
    ssv2_validation=1,
    ucf101_clips_per_group=1,
    hmdb51_train=1,
    hmdb51_test=1,
)
"""All toy videos to pretrain on (k400/train, 160) and to evaluate on (k400/val, 64), and the fewest
possible of the other data sets.
"""

CPU = torch.device("cpu")
MAX_SECONDS = 90
UNSEEN_PASSES = 8  # evaluations of each unseen video, every time with other clips and answers


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Accuracies on the pretext task, from 0 to 1.

    `seen` is that of the last training epoch, `unseen` that of `questions` evaluations on videos of
    another split. `seconds` is the CPU time of training, which does not depend on the load of the
    machine.
    """

    seen: float
    unseen: float
    chance: float
    questions: int
    seconds: float

    @property
    def sigmas(self) -> float:
        """How far `unseen` is above chance, in standard errors of guessing.

        Each evaluation draws its answer independently, so that a guess is a Bernoulli trial with
        probability `chance`.
        """
        variance = self.chance * (1 - self.chance) / self.questions
        return (self.unseen - self.chance) / math.sqrt(variance)

    def __str__(self) -> str:
        return (
            f"seen {self.seen:.1%}, unseen {self.unseen:.1%}, chance {self.chance:.1%} "
            f"({self.sigmas:.1f} standard errors), {self.seconds:.0f} s"
        )


def write_toy_shards(folder: Path) -> Path:
    """Write toy videos and their shards, and return the folder of the shards."""
    write_toy(folder / "toys", processes=2, progress=silent, size=SIZE)
    for dataset, split in (("k400", "train"), ("k400", "val"), ("ucf101", "train01")):
        build_shards(
            ShardRequest(dataset=dataset, split=split, videos_per_shard=32),
            root=folder / "toys" / dataset,
            shards_dir=folder / "shards",
            progress=silent,
        )
    return folder / "shards"


def toy_recipe(
    task: str,
    backbone: str,
    *,
    shards_dir: Path,
    folder: Path,
    complexity: int = 1,
    profile: Path | None = None,
) -> Pretrain:
    """The recipe that `kdbatch plan --profile toy` makes for pretraining on all of k400.

    `profile` replaces the toy profile, to try settings out.
    """
    pretrained = {"task": task, "complexity": complexity, "dataset": "k400", "subset": "all"}
    experiment = {
        "name": "learning",
        "title": "One teacher and what it learns",
        "vary": {"target": ["ucf101"]},
        "teachers": {
            "T1": {"title": "T1", "backbone": backbone, "pretrain": pretrained, "target": "$target"}
        },
        "student": {
            "title": "student",
            "backbone": backbone,
            "target": "$target",
            "teachers": [],
        },
    }
    (folder / "profiles").mkdir(parents=True, exist_ok=True)
    (folder / "learning.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "profiles" / "toy.yaml").write_text(
        (profile or JOBS / "profiles" / "toy.yaml").read_text()
    )
    plan = make_plan(
        [folder / "learning.yaml"],
        profile="toy",
        config=Config(paths=Paths(shards=str(shards_dir), runs=str(folder / "runs"))),
    )
    return next(item.run.recipe for item in plan.runs if isinstance(item.run.recipe, Pretrain))


def pretrain_and_evaluate(
    recipe: Pretrain, *, shards_dir: Path, folder: Path, seed: int = 0
) -> Learned:
    """Run the worker's pretraining stage and evaluate the network on videos that it has not seen.

    Fails if training takes MAX_SECONDS or more.
    """
    run = Run(recipe=recipe, seed=seed, parents=())
    assignment = Assignment(
        run=run, title="learning", shards_dir=str(shards_dir), decoder="pyav", resources=Resources()
    )
    run_folder = RunFolder(folder / "runs" / run.id)
    run_folder.path.mkdir(parents=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with StatusReporter(run_folder, device="cpu", stop=StopSignal()) as reporter:
            context = RunContext(
                folder=run_folder,
                reporter=reporter,
                device=CPU,
                num_workers=0,
                clip_reader=ClipReader(decoder="pyav"),
            )
            start = time.process_time()
            pretrain(recipe, assignment, context)
            seconds = time.process_time() - start
        assert seconds < MAX_SECONDS, (
            f"{recipe.task.name} on {recipe.backbone.kind} took {seconds:.0f} s of one core"
        )
        seen, chance = _training_accuracy(run_folder)
        unseen, questions = _evaluate(recipe, run_folder, shards_dir=shards_dir)
    finally:
        torch.set_num_threads(threads)
    return Learned(seen=seen, unseen=unseen, chance=chance, questions=questions, seconds=seconds)


def _training_accuracy(run_folder: RunFolder) -> tuple[float, float]:
    """(accuracy of the last epoch, accuracy of guessing), as the run has written them."""
    value = {row["name"]: row["value"] for row in pl.read_parquet(run_folder.rows).to_dicts()}
    return value["pretext_accuracy"] / 100, value["pretext_chance"] / 100


@torch.no_grad()
def _evaluate(recipe: Pretrain, run_folder: RunFolder, *, shards_dir: Path) -> tuple[float, int]:
    """Accuracy in evaluation mode over UNSEEN_PASSES passes of k400/val, and number of trials."""
    task, view, pretext = recipe.task, recipe.view, PRETEXTS[recipe.task.name]
    model = pretext.build_model(task, lambda: build_backbone(recipe.backbone), SINGLE_PROCESS)
    checkpoint = load_checkpoint(run_folder.checkpoint)
    assert checkpoint is not None
    model.load_state_dict(checkpoint["model"])
    model.eval()
    subset = find_subset(load_index(shards_dir, "k400"), "val", "all", where="k400")
    need = task.window_frames(view.num_frames * view.stride_frames)
    videos, _ = load_videos(shards_dir, subset, view=view, need_frames=need)
    source = TrainingBatches(
        videos,
        view=view,
        batch_clips=recipe.schedule.batch_clips,
        seed=1,
        sample_clips=lambda chosen, rng: pretext.sample_clips(chosen, task, view, rng),
        clip_reader=ClipReader(decoder="pyav"),
    )
    accuracies, sizes = [], []
    for step in range(UNSEEN_PASSES * source.steps_per_epoch):
        torch.manual_seed(step)
        batch = source[step]
        views = batch.views(size_pixels=view.size_pixels, device=CPU)
        output = pretext.step(model, views, batch, task)
        accuracies.append(float(output.report["accuracy"]))
        sizes.append(len(batch.keys))
    return float(np.average(accuracies, weights=sizes)), sum(sizes)
