"""A small study as runs leave it on disk, written with the project's own writers: two subsets, one
target, chosen accuracies.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from kdbatch.base.atomic_write import write_json
from kdbatch.result.schema import CKA, CURVES, PREDICTIONS, ROWS
from kdbatch.result.write import Measure, write_measures, write_table
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.plans import Cell, Claim, Map, PlanRecord, Table, save_record
from kdbatch.vocab.recipes import Compare, Distill, Evaluation, Finetune, Pretrain, Recipe, Schedule
from kdbatch.vocab.runs import Assignment, Resources, Run, RunFolder
from kdbatch.vocab.shards import Subset
from kdbatch.vocab.status import Status, save_status
from kdbatch.vocab.tasks.rspnet import RSPNet
from kdbatch.vocab.views import View

ROLES = {
    "T1": "T1 ShuffleNet",
    "T2": "T2 R(2+1)D",
    "student": "Student ShuffleNet",
    "labels_only": "Labels only",
}
ACCURACY = {
    ("T1", "10k"): 0.50,
    ("T1", "30k"): 0.55,
    ("T2", "10k"): 0.60,
    ("T2", "30k"): 0.64,
    ("student", "10k"): 0.76,
    ("student", "30k"): 0.88,
    ("labels_only", "10k"): 0.76,
    ("labels_only", "30k"): 0.76,
}
BLOCK_INDEXES = {"map_T1": 0.30, "map_T2": 0.35, "map_student": 0.10}
TABLE = Table(
    id="table1",
    title="Accuracy by size of the pretraining subset",
    rows=tuple(ROLES),
    columns=("target", "subset"),
)
MAPS = tuple(
    Map(
        id=f"map_{role}",
        title=f"{ROLES[role]} layers",
        models=(role,),
        at={"target": "ucf101", "subset": "30k"},
    )
    for role in ("T1", "T2", "student")
)
CLAIMS = (
    Claim(
        id="above",
        says="The student is above both of its teachers.",
        kind="beats",
        who="student",
        than=("T1", "T2"),
    ),
    Claim(
        id="best", says="30k is best.", kind="best_at", who="student", axis="subset", value="30k"
    ),
    Claim(
        id="gain",
        says="It gains 5 points.",
        kind="mean_gain_at_least",
        who="student",
        than=("T1", "T2"),
        points=5.0,
    ),
    Claim(
        id="blocks",
        says="It has fewer blocks.",
        kind="fewer_blocks_than",
        who="map_student",
        than=("map_T1", "map_T2"),
    ),
    Claim(
        id="control",
        says="Labels alone give less.",
        kind="beats",
        who="student",
        than=("labels_only",),
        control=True,
    ),
)
SCHEDULE = Schedule(epochs=5, batch_clips=8, lr=0.1)
TRAIN = Subset(dataset="ucf101", split="train01", num_places=0, num_classes=4, digest="d")
TEST = Subset(dataset="ucf101", split="test01", num_places=0, num_classes=4, digest="e")


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """What to write: `accuracy` by (role, subset), or by (role, subset, seed) where a seed differs.

    `unfinished` names (role, subset) whose runs are not done; roles of maps are `map:<id>`.
    """

    seeds: Sequence[int] = (0,)
    num_videos: int = 400
    accuracy: Mapping[tuple, float] = field(default_factory=lambda: ACCURACY)
    unfinished: Sequence[tuple[str, str]] = ()
    claims: Sequence[Claim] = CLAIMS
    title: str = "Pretraining subsets of different size"

    def write(self, runs_dir: Path) -> PlanRecord:
        cells = []
        for seed in self.seeds:
            runs: dict[tuple[str, str], str] = {}
            for subset in ("10k", "30k"):
                for role in ROLES:
                    runs[role, subset] = _classifier(runs_dir, self, role, subset, seed, runs)
                    cells.append(
                        Cell(
                            role=role,
                            case={"target": "ucf101", "subset": subset},
                            seed=seed,
                            run_id=runs[role, subset],
                        )
                    )
            for declared in MAPS:
                run_id = _map(runs_dir, self, declared, seed, runs[declared.models[0], "30k"])
                cells.append(
                    Cell(role=f"map:{declared.id}", case=declared.at, seed=seed, run_id=run_id)
                )
        record = PlanRecord(
            experiment="subset_size",
            title=self.title,
            profile="toy",
            source="",
            axes={"target": ("ucf101",), "subset": ("10k", "30k")},
            roles=ROLES,
            tables=(TABLE,),
            maps=MAPS,
            claims=tuple(self.claims),
            cells=tuple(cells),
        )
        save_record(runs_dir, record)
        return record


def find_run_id(record: PlanRecord, role: str, subset: str, seed: int = 0) -> str:
    return next(
        c.run_id for c in record.cells if (c.role, c.case["subset"], c.seed) == (role, subset, seed)
    )


def make_correct(
    role: str, subset: str, seed: int, *, num_videos: int, accuracy: float
) -> np.ndarray:
    """Exactly `accuracy` of the videos, the easy ones rather than the hard ones."""
    own = np.random.default_rng(zlib.crc32(f"{role}{subset}{seed}".encode())).random(num_videos)
    hardness = np.random.default_rng(7).random(num_videos) + 0.8 * own
    return np.argsort(np.argsort(hardness)) < round(accuracy * num_videos)


def _classifier(
    runs_dir: Path,
    world: StudySpec,
    role: str,
    subset: str,
    seed: int,
    runs: Mapping[tuple[str, str], str],
) -> str:
    backbone = Backbone(kind="r21d_10" if role == "T2" else "shufflenet_2x")
    shared = {
        "backbone": backbone,
        "data": TRAIN,
        "view": View(),
        "schedule": SCHEDULE,
        "evaluation": Evaluation(test=TEST),
    }
    if role.startswith("T"):
        parent = _pretrain(runs_dir, world, backbone, subset, seed)
        run = Run(recipe=Finetune(**shared), seed=seed, parents=(parent,))
    elif role == "student":
        run = Run(
            recipe=Distill(**shared), seed=seed, parents=(runs["T1", subset], runs["T2", subset])
        )
    else:
        run = Run(
            recipe=Distill(weighting="none", **shared),
            seed=seed + 100 * (subset == "30k"),
            parents=(),
        )
    title = f"{ROLES[role]} {subset}, seed {seed}"
    folder = _folder(runs_dir, run, title, done=(role, subset) not in world.unfinished)
    accuracy = world.accuracy.get((role, subset, seed), world.accuracy[role, subset])
    _write_predictions(
        folder, make_correct(role, subset, seed, num_videos=world.num_videos, accuracy=accuracy)
    )
    measures = [
        _percent("top1", accuracy),
        _percent("top5", 1.0),
        Measure(name="test_videos", value=world.num_videos, unit="count"),
    ]
    if role == "student":
        measures += [_percent("teacher_ensemble_top1", 0.66), _percent("teacher_oracle_top1", 0.72)]
        measures.append(
            Measure(name="teacher_error_correlation", value=0.41, unit="1", subset="ucf101/test01")
        )
    write_measures(folder.rows, run.id, measures, schema=ROWS)
    curve = [
        Measure(name="accuracy", value=accuracy * (1 - 0.7**e), unit="1", step=10 * e)
        for e in range(1, 6)
    ]
    write_measures(folder.curves, run.id, curve, schema=CURVES)
    return run.id


def _pretrain(runs_dir: Path, world: StudySpec, backbone: Backbone, subset: str, seed: int) -> str:
    data = Subset(
        dataset="k400",
        split="train",
        num_places=int(subset[:-1]) * 1000,
        num_classes=400,
        digest=subset,
    )
    recipe = Pretrain(task=RSPNet(), backbone=backbone, data=data, view=View(), schedule=SCHEDULE)
    run = Run(recipe=recipe, seed=seed, parents=())
    folder = _folder(
        runs_dir,
        run,
        f"RSPNet {backbone.kind} {subset}, seed {seed}",
        done=("pretrain", subset) not in world.unfinished,
    )
    measures = [
        Measure(name="pretext_accuracy", value=81.5, unit="percent"),
        Measure(name="pretext_chance", value=50.0, unit="percent"),
    ]
    write_measures(folder.rows, run.id, measures, schema=ROWS)
    return run.id


def _map(runs_dir: Path, world: StudySpec, declared: Map, seed: int, parent: str) -> str:
    run = Run(recipe=Compare(data=TEST, view=View()), seed=seed, parents=(parent,))
    folder = _folder(
        runs_dir,
        run,
        f"{declared.title}, seed {seed}",
        done=(f"map:{declared.id}", "30k") not in world.unfinished,
    )
    value = BLOCK_INDEXES[declared.id] + 0.01 * seed * (2 if declared.id == "map_T1" else 1)
    write_measures(
        folder.rows, run.id, [Measure(name="block_index", value=value, unit="1")], schema=ROWS
    )
    size = 12
    rows = [
        {
            "run_id": run.id,
            "index_a": a,
            "index_b": b,
            "layer_a": f"stage{a // 4}.conv{a % 4}",
            "layer_b": f"stage{b // 4}.conv{b % 4}",
            "kind_a": "conv",
            "kind_b": "conv",
            "value": float(np.exp(-abs(a - b) / 5)),
        }
        for a in range(size)
        for b in range(size)
    ]
    write_table(folder.cka, rows, schema=CKA)
    return run.id


def _folder(runs_dir: Path, run: Run, title: str, *, done: bool) -> RunFolder:
    folder = RunFolder(runs_dir / run.id)
    folder.save(
        Assignment(run=run, title=title, shards_dir="shards", decoder="pyav", resources=Resources())
    )
    save_status(folder.status, Status(state="done" if done else "queued", attempt=1, seconds=90.0))
    if done:
        write_json(folder.done, _done(run.id, run.recipe, title))
    return folder


def _done(run_id: str, recipe: Recipe, title: str) -> dict[str, object]:
    return {
        "run_id": run_id,
        "kind": recipe.kind,
        "title": title,
        "finished_at": 1.8e9,
        "seconds": 90.0,
        "device_hours": 0.025,
        "attempts": 1,
        "kdbatch_version": "0.1.0",
        "torch_version": "2.15.0",
        "device": "cpu (x86_64)",
        "host": "node1",
    }


def _write_predictions(folder: RunFolder, hit_N: np.ndarray) -> None:
    rows = []
    for i, hit in enumerate(hit_N.tolist()):
        label = i % 4
        probability = [0.1] * 4
        probability[label if hit else (label + 1) % 4] = 0.7
        place = 0 if hit else 1 + sum(k < label for k in range(4) if k != (label + 1) % 4)
        rows.append({"run_id": folder.id, "key": f"v{i:04d}", "label": label, "place": place})
        rows[-1] |= {"probability_K": probability, "logit_K": probability}
    write_table(folder.predictions, rows, schema=PREDICTIONS)


def _percent(name: str, share: float) -> Measure:
    return Measure(name=name, value=100 * share, unit="percent", subset="ucf101/test01")


def mark_failed(folder: RunFolder, reason: str) -> None:
    """The run ended with an error instead."""
    folder.done.unlink(missing_ok=True)
    save_status(
        folder.status,
        dataclasses.replace(Status(state="failed", attempt=2, seconds=30.0), reason=reason),
    )


def resubmit_student(runs_dir: Path, record: PlanRecord, *, epochs: int) -> tuple[str, str]:
    """The student of 10k with another schedule takes the place of the finished one, and is not
    done. Returns (old id, new id).
    """
    old = RunFolder(runs_dir / find_run_id(record, "student", "10k"))
    assignment = old.load()
    assert isinstance(assignment.run.recipe, Distill)
    schedule = dataclasses.replace(assignment.run.recipe.schedule, epochs=epochs)
    run = dataclasses.replace(
        assignment.run, recipe=dataclasses.replace(assignment.run.recipe, schedule=schedule)
    )
    RunFolder(runs_dir / run.id).save(dataclasses.replace(assignment, run=run))
    cells = tuple(
        dataclasses.replace(c, run_id=run.id) if c.run_id == old.id else c for c in record.cells
    )
    save_record(runs_dir, dataclasses.replace(record, cells=cells))
    return old.id, run.id
