"""A small study: a target of a few real videos in groups, pretraining data, and an experiment.

The experiment has controls and probes.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from kdbatch.base.progress import silent
from kdbatch.plan.resolve import make_plan
from kdbatch.run.heartbeat import StopSignal
from kdbatch.run.main import main
from kdbatch.shard.build import build_shards
from kdbatch.shard.toy.size import ToySize
from kdbatch.shard.toy.write import write_toy
from kdbatch.vocab.attempts.exit_rules import EXIT_DONE
from kdbatch.vocab.config import Config, Paths
from kdbatch.vocab.jobs.resources import Resources
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.runs.folder import Assignment, RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shard_request import ShardRequest

SIZE = ToySize(
    k400_train=2,
    k400_val=0,
    ssv2_train=1,
    ssv2_validation=1,
    ucf101_clips_per_group=2,
    hmdb51_train=1,
    hmdb51_test=1,
    hmdb51_unused=0,
    num_motions=1,
    min_frames=12,
    max_frames=16,
    extra_frames=0,
)
PROFILE = """\
seeds: [0]
widths: {r21d_10: 0.0625, shufflenet_2x: 0.0625}
clip: {num_frames: 4, stride_frames: 1, fps: 25.0, size_pixels: 32}
tasks: {rspnet: {queue_size: 16, embedding_dim: 8, key_momentum: 0.9}}
pretrain: {epochs: 1, batch_clips: 8}
finetune: {epochs: 2, batch_clips: 8, lr: 0.02}
distill: {epochs: 3, batch_clips: 8, lr: 0.02}
linear: {epochs: 2, batch_clips: 8, lr: 0.1, weight_decay: 0.0}
selection: {ucf101: {share: 0.2, num_clips: 1}}
teacher_views: 2
num_eval_clips: 2
num_eval_crops: 3
dropout: 0.1
"""
HEAD = """\
name: small
title: A small study
vary: {target: [ucf101]}
teachers:
  T1:
    title: T1
    backbone: shufflenet_2x
    pretrain: {task: rspnet, dataset: k400, subset: all}
    target: $target
student:
  title: Student
  backbone: shufflenet_2x
  target: $target
  teachers: [T1, T1@1]
"""
"""An experiment up to its controls."""
EXPERIMENT = f"""\
{HEAD}  weighting: ca-mkd
controls:
  labels_only: {{title: Labels only, teachers: []}}
  T1_alone: {{title: T1 alone, teachers: [T1]}}
probes: [retrieval, linear]
tables:
  - id: accuracy
    title: Accuracy
    rows: [T1, student, labels_only, T1_alone, T1.linear]
    columns: [target]
  - {{id: recall, title: Recall, rows: [T1.retrieval], columns: [target], metric: recall_at_1}}
"""


def write_world(folder: Path) -> None:
    """Shards and the experiment below `folder`."""
    write_toy(folder / "toys", processes=1, progress=silent, size=SIZE)
    for dataset in ("k400", "ucf101"):
        build_shards(
            ShardRequest(dataset=dataset, videos_per_shard=20, processes=1),
            root=folder / "toys" / dataset,
            shards_dir=folder / "shards",
            progress=silent,
        )
    (folder / "jobs" / "profiles").mkdir(parents=True)
    (folder / "jobs" / "small.yaml").write_text(EXPERIMENT)
    (folder / "jobs" / "profiles" / "tiny.yaml").write_text(PROFILE)


def plan_of(folder: Path) -> Plan:
    config = Config(paths=Paths(shards=str(folder / "shards"), runs=str(folder / "runs")))
    return make_plan([folder / "jobs" / "small.yaml"], profile="tiny", config=config)


def prepare(folder: Path, run: Run, *, runs: str = "runs") -> RunFolder:
    """The run's folder as a submission leaves it."""
    place = RunFolder(folder / runs / run.id)
    place.path.mkdir(parents=True, exist_ok=True)
    place.save(
        Assignment(
            run=run,
            title="a run",
            shards_dir=str(folder / "shards"),
            decoder="pyav",
            resources=Resources(),
        )
    )
    return place


def run_all(folder: Path, plan: Plan) -> dict[str, RunFolder]:
    """Every run of the plan, parents first, in this process; folders by id."""
    places = {}
    for item in plan.runs:
        places[item.run.id] = prepare(folder, item.run)
        assert main([str(places[item.run.id].path)], stop=StopSignal()) == EXIT_DONE, places[
            item.run.id
        ].status.read_text()
    return places


def finished_plan(folder: Path) -> Iterator[Plan]:
    """The plan, all of whose runs are done; for a fixture."""
    threads = torch.get_num_threads()
    plan = plan_of(folder)
    run_all(folder, plan)
    yield plan
    torch.set_num_threads(threads)


def run_of(plan: Plan, role: str) -> Run:
    (run_id,) = {cell.run_id for cell in plan.records[0].cells if cell.role == role}
    return next(item.run for item in plan.runs if item.run.id == run_id)


def with_recipe(run: Run, **changes: object) -> Run:
    """The run with other fields of its recipe."""
    return changed(run, recipe=changed(run.recipe, **changes))


def changed(value: Any, **changes: object) -> Any:
    return dataclasses.replace(value, **changes)
