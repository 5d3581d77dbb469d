"""A small study on disk with chosen accuracies: two subsets, one target, four roles, three maps."""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

import numpy as np

from kdbatch.result.schema import CURVES, ROWS
from kdbatch.result.write import Measure, write_measures
from kdbatch.vocab.backbones import Backbone
from kdbatch.vocab.plans.declarations import Claim, Map, Table
from kdbatch.vocab.plans.records import Cell, PlanRecord, save_record
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.evaluation import Evaluation
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.tasks.rspnet import RSPNet
from kdbatch.vocab.views import ClipRates, View
from support.report_runs import write_cka_map, write_predictions, write_run

AccuracyKey = tuple[str, str] | tuple[str, str, int]
"""(role, subset), or (role, subset, seed) where a seed differs."""

SUBSETS = ("10k", "30k")
ROLES = {
    "T1": "T1 ShuffleNet",
    "T2": "T2 R(2+1)D",
    "student": "Student ShuffleNet",
    "labels_only": "Labels only",
}
ACCURACY: dict[AccuracyKey, float] = {
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
RATES = ClipRates(
    subset="ucf101/test01",
    fps=25.0,
    stride_frames=1,
    num_frames=16,
    least_video_fps=25.0,
    most_video_fps=25.0,
    repeated_share=0.125,
)
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


class _ClassifierFields(TypedDict):
    backbone: Backbone
    data: Subset
    view: View
    schedule: Schedule
    evaluation: Evaluation


@dataclass(frozen=True, kw_only=True)
class StudySpec:
    """A study to write.

    `unfinished` lists (role, subset) of runs that are not done; maps have the role `map:<id>`.
    """

    seeds: Sequence[int] = (0,)
    num_videos: int = 400
    accuracy: Mapping[AccuracyKey, float] = field(default_factory=lambda: ACCURACY)
    unfinished: Sequence[tuple[str, str]] = ()
    claims: Sequence[Claim] = CLAIMS
    title: str = "Pretraining subsets of different size"

    def write(self, runs_dir: Path) -> PlanRecord:
        """Write the runs with their results, and the plan."""
        cells = []
        for seed in self.seeds:
            cells += _write_seed(runs_dir, self, seed)
        record = PlanRecord(
            experiment="subset_size",
            title=self.title,
            profile="toy",
            source="",
            axes={"target": ("ucf101",), "subset": SUBSETS},
            roles=ROLES,
            tables=(TABLE,),
            maps=MAPS,
            claims=tuple(self.claims),
            cells=tuple(cells),
            rates=(RATES,),
        )
        save_record(runs_dir, record)
        return record

    def is_done(self, role: str, subset: str) -> bool:
        return (role, subset) not in self.unfinished

    def accuracy_of(self, role: str, subset: str, seed: int) -> float:
        return self.accuracy.get((role, subset, seed), self.accuracy[role, subset])


def find_run_id(record: PlanRecord, role: str, subset: str, seed: int = 0) -> str:
    """Return the id of the run that has a role in the plan."""
    wanted = (role, subset, seed)
    return next(c.run_id for c in record.cells if (c.role, c.case["subset"], c.seed) == wanted)


def make_correct(
    role: str, subset: str, seed: int, *, num_videos: int, accuracy: float
) -> np.ndarray:
    """Return which videos are predicted right: exactly a share `accuracy`, mostly the easy ones."""
    own = np.random.default_rng(zlib.crc32(f"{role}{subset}{seed}".encode())).random(num_videos)
    hardness = np.random.default_rng(7).random(num_videos) + 0.8 * own
    return np.argsort(np.argsort(hardness)) < round(accuracy * num_videos)


def resubmit_student(runs_dir: Path, record: PlanRecord, *, epochs: int) -> tuple[str, str]:
    """Replace the student of 10k by one with another schedule, which is not done.

    Returns (old id, new id).
    """
    old = RunFolder(runs_dir / find_run_id(record, "student", "10k"))
    assignment = old.load()
    recipe = assignment.run.recipe
    assert isinstance(recipe, Distill)
    schedule = dataclasses.replace(recipe.schedule, epochs=epochs)
    run = dataclasses.replace(assignment.run, recipe=dataclasses.replace(recipe, schedule=schedule))
    RunFolder(runs_dir / run.id).save(dataclasses.replace(assignment, run=run))
    cells = []
    for cell in record.cells:
        run_id = run.id if cell.run_id == old.id else cell.run_id
        cells.append(dataclasses.replace(cell, run_id=run_id))
    save_record(runs_dir, dataclasses.replace(record, cells=tuple(cells)))
    return old.id, run.id


def _write_seed(runs_dir: Path, spec: StudySpec, seed: int) -> list[Cell]:
    """Write all runs of one seed and return their cells."""
    cells = []
    runs: dict[tuple[str, str], str] = {}
    for subset in SUBSETS:
        case = {"target": "ucf101", "subset": subset}
        for role in ROLES:
            run_id = _write_classifier(runs_dir, spec, role, subset, seed, runs)
            runs[role, subset] = run_id
            cells.append(Cell(role=role, case=case, seed=seed, run_id=run_id))
    for declared in MAPS:
        run_id = _write_map(runs_dir, spec, declared, seed, runs[declared.models[0], "30k"])
        cells.append(Cell(role=f"map:{declared.id}", case=declared.at, seed=seed, run_id=run_id))
    return cells


def _write_classifier(
    runs_dir: Path,
    spec: StudySpec,
    role: str,
    subset: str,
    seed: int,
    runs: Mapping[tuple[str, str], str],
) -> str:
    """Write a teacher (with its pretraining), a student or a control, and return its id."""
    backbone = Backbone(kind="r21d_10" if role == "T2" else "shufflenet_2x")
    fields: _ClassifierFields = {
        "backbone": backbone,
        "data": TRAIN,
        "view": View(),
        "schedule": SCHEDULE,
        "evaluation": Evaluation(test=TEST),
    }
    if role.startswith("T"):
        parent = _write_pretraining(runs_dir, spec, backbone, subset, seed)
        run = Run(recipe=Finetune(**fields), seed=seed, parents=(parent,))
    elif role == "student":
        teachers = (runs["T1", subset], runs["T2", subset])
        run = Run(recipe=Distill(**fields), seed=seed, parents=teachers)
    else:
        recipe = Distill(weighting="none", **fields)
        run = Run(recipe=recipe, seed=seed + 100 * (subset == "30k"), parents=())
    title = f"{ROLES[role]} {subset}, seed {seed}"
    folder = write_run(runs_dir, run, title, done=spec.is_done(role, subset))
    accuracy = spec.accuracy_of(role, subset, seed)
    correct_N = make_correct(role, subset, seed, num_videos=spec.num_videos, accuracy=accuracy)
    write_predictions(folder, correct_N)
    write_measures(folder.rows, run.id, _classifier_rows(spec, role, accuracy), schema=ROWS)
    curve = []
    for epoch in range(1, 6):
        value = accuracy * (1 - 0.7**epoch)
        curve.append(Measure(name="accuracy", value=value, unit="1", step=10 * epoch))
    write_measures(folder.curves, run.id, curve, schema=CURVES)
    return run.id


def _classifier_rows(spec: StudySpec, role: str, accuracy: float) -> list[Measure]:
    measures = [
        _percent("top1", accuracy),
        _percent("top5", 1.0),
        Measure(name="test_videos", value=spec.num_videos, unit="count"),
    ]
    if role == "student":
        measures += [
            _percent("teacher_ensemble_top1", 0.66),
            _percent("teacher_oracle_top1", 0.72),
            Measure(name="teacher_error_correlation", value=0.41, unit="1", subset=TEST.title),
        ]
    return measures


def _write_pretraining(
    runs_dir: Path, spec: StudySpec, backbone: Backbone, subset: str, seed: int
) -> str:
    data = Subset(
        dataset="k400",
        split="train",
        num_places=int(subset[:-1]) * 1000,
        num_classes=400,
        digest=subset,
    )
    recipe = Pretrain(task=RSPNet(), backbone=backbone, data=data, view=View(), schedule=SCHEDULE)
    run = Run(recipe=recipe, seed=seed, parents=())
    title = f"RSPNet {backbone.kind} {subset}, seed {seed}"
    folder = write_run(runs_dir, run, title, done=spec.is_done("pretrain", subset))
    measures = [
        Measure(name="pretext_accuracy", value=81.5, unit="percent"),
        Measure(name="pretext_chance", value=50.0, unit="percent"),
    ]
    write_measures(folder.rows, run.id, measures, schema=ROWS)
    curve = []
    for epoch in range(1, 13):
        curve += [
            Measure(name="loss", value=2 / epoch + seed, unit="1", step=10 * epoch),
            Measure(name="accuracy", value=0.8 - 0.4 / epoch, unit="1", step=10 * epoch),
        ]
    write_measures(folder.curves, run.id, curve, schema=CURVES)
    return run.id


def _write_map(runs_dir: Path, spec: StudySpec, declared: Map, seed: int, parent: str) -> str:
    run = Run(recipe=Compare(data=TEST, view=View()), seed=seed, parents=(parent,))
    title = f"{declared.title}, seed {seed}"
    folder = write_run(runs_dir, run, title, done=spec.is_done(f"map:{declared.id}", "30k"))
    growth = 0.02 if declared.id == "map_T1" else 0.01
    value = BLOCK_INDEXES[declared.id] + growth * seed
    measures = [
        Measure(name="block_index", value=value, unit="1"),
        Measure(name="grid_share", value=1 - value, unit="1"),
    ]
    write_measures(folder.rows, run.id, measures, schema=ROWS)
    write_cka_map(folder)
    return run.id


def _percent(name: str, share: float) -> Measure:
    return Measure(name=name, value=100 * share, unit="percent", subset=TEST.title)
