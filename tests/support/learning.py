"""Pretraining as the toy profile does it, and what a network then knows of videos that it never
saw.
"""

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
from kdbatch.vocab.recipes import Pretrain
from kdbatch.vocab.runs import Assignment, Resources, Run, RunFolder
from kdbatch.vocab.shard_request import ShardRequest
from kdbatch.vocab.shards import find_subset, load_index
from support.inputs import JOBS

SIZE = ToySize(
    k400_val=4,
    ssv2_train=1,
    ssv2_validation=1,
    ucf101_clips_per_group=1,
    hmdb51_train=1,
    hmdb51_test=1,
)
"""All of the toys that are pretrained on (k400/train, 160 videos) and asked about (k400/val, 64);
the least of the others.
"""

CPU = torch.device("cpu")
MAX_SECONDS = 90
UNSEEN_PASSES = (
    8  # how often each unseen video is asked about, each time with other clips and other answers
)


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Accuracies are shares: `seen` of the last training epoch, `unseen` in evaluation mode on
    videos of another split.

    `questions` were asked about unseen videos. `seconds` are those that one core has trained for:
    who else is on the machine adds none.
    """

    seen: float
    unseen: float
    chance: float
    questions: int
    seconds: float

    @property
    def sigmas(self) -> float:
        """How far `unseen` is above chance, in standard errors of guessing: answers are drawn anew
        for each question, so whoever does not look at the clip is right as often as a coin with
        `chance` on one side.
        """
        return (self.unseen - self.chance) / math.sqrt(
            self.chance * (1 - self.chance) / self.questions
        )

    def __str__(self) -> str:
        seen, unseen, chance = (
            f"{100 * share:.1f} %" for share in (self.seen, self.unseen, self.chance)
        )
        return f"seen {seen}, unseen {unseen}, chance {chance} ({self.sigmas:.1f} standard errors), {self.seconds:.0f} s"


def write_toy_shards(folder: Path) -> Path:
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
    """What `kdbatch plan --profile toy` makes of pretraining on all of k400. Another `profile` is
    for trying settings out.
    """
    pretrained = {"task": task, "complexity": complexity, "dataset": "k400", "subset": "all"}
    experiment = {
        "name": "learning",
        "title": "One teacher and what it learns",
        "vary": {"target": ["ucf101"]},
        "teachers": {
            "T1": {"title": "T1", "backbone": backbone, "pretrain": pretrained, "target": "ucf101"}
        },
        "student": {"title": "student", "backbone": backbone, "target": "ucf101", "teachers": []},
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
    """Run the worker's own pretraining stage, for less than MAX_SECONDS, then ask the network about
    videos that it has not seen.
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
        with StatusReporter(run_folder, device="cpu", stop=StopSignal()) as pulse:
            worker = RunContext(
                folder=run_folder,
                reporter=pulse,
                device=CPU,
                num_workers=0,
                clip_reader=ClipReader(decoder="pyav"),
            )
            began = time.process_time()
            pretrain(recipe, assignment, worker)
            seconds = time.process_time() - began
        assert seconds < MAX_SECONDS, (
            f"{recipe.task.name} on {recipe.backbone.kind} took {seconds:.0f} s of one core"
        )
        seen, chance = _measured(run_folder)
        unseen, questions = _ask(recipe, run_folder, shards_dir=shards_dir)
    finally:
        torch.set_num_threads(threads)
    return Learned(seen=seen, unseen=unseen, chance=chance, questions=questions, seconds=seconds)


def _measured(run_folder: RunFolder) -> tuple[float, float]:
    value = {row["name"]: row["value"] for row in pl.read_parquet(run_folder.rows).to_dicts()}
    return value["pretext_accuracy"] / 100, value["pretext_chance"] / 100


@torch.no_grad()
def _ask(recipe: Pretrain, run_folder: RunFolder, *, shards_dir: Path) -> tuple[float, int]:
    """Accuracy in evaluation mode over UNSEEN_PASSES passes of the validation split, and the number
    of questions.
    """
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
    hits = []
    for step in range(UNSEEN_PASSES * source.steps_per_epoch):
        torch.manual_seed(step)
        batch = source[step]
        taken = pretext.step(
            model, batch.views(size_pixels=view.size_pixels, device=CPU), batch, task
        )
        hits.append((float(taken.report["accuracy"]), len(batch.keys)))
    accuracy, num_videos = np.array(hits).T
    return float(np.average(accuracy, weights=num_videos)), int(num_videos.sum())
