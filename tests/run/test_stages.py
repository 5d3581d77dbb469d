"""The stages on real videos, in this process: their results, which no interruption changes."""

import itertools
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import load_file
from support import targets
from support.targets import run_of

from kdbatch.base.atomic_write import load_json, write_json
from kdbatch.base.digests.sha256 import sha256_of
from kdbatch.launch.run_status import load_run_rows
from kdbatch.report.build import build_report
from kdbatch.result.read import read_curves, read_predictions, read_rows
from kdbatch.run.checkpoint import load_weights
from kdbatch.run.data.augment import apply_augment
from kdbatch.run.data.augment_params import sample_augment
from kdbatch.run.data.batches import StoredVideo, TrainingBatches, load_videos
from kdbatch.run.data.clip_reader import ClipReader
from kdbatch.run.data.decoding.decode import decode_frames
from kdbatch.run.data.sampling import ClipRequest, evenly_spaced_clips, random_clip
from kdbatch.run.heartbeat import StopSignal
from kdbatch.run.main import main
from kdbatch.run.models import build_backbone
from kdbatch.vocab.attempts.exit_rules import EXIT_DONE, EXIT_STOPPED, EXIT_USER
from kdbatch.vocab.metrics import Metric
from kdbatch.vocab.plans.plan import Plan
from kdbatch.vocab.plans.records import save_record
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.retrieve import Retrieve
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.runs.folder import RunFolder
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import THREE_CROPS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("target"),
]  # one worker trains the runs that all tests use


class Killed(BaseException):
    """Stands for SIGKILL: no code of the run handles it."""


class StopAfter(StopSignal):
    """Requests a stop, or kills, at check `num_checks` + 1; training checks once per step."""

    def __init__(self, num_checks: int, *, kill: bool) -> None:
        self.num_checks, self.kill = num_checks, kill
        self.requested_at, self.early_warning = 0.0, False

    @property
    def requested(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.num_checks -= 1
        if self.num_checks < 0 and self.kill:
            raise Killed
        return self.num_checks < 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("target")
    targets.write_world(path)
    return path


@pytest.fixture(scope="module")
def plan(folder: Path) -> Iterator[Plan]:
    yield from targets.finished_plan(folder)


def _schedule(run: Run) -> Schedule:
    assert isinstance(run.recipe, Finetune | Distill)
    return run.recipe.schedule


def _measured(folder: Path, run: Run) -> dict[str, float]:
    frame = read_rows(folder / "runs", [run.id]).frame
    return dict(zip(frame["name"].to_list(), frame["value"].to_list(), strict=True))


def _weights(folder: Path, run: Run) -> dict[str, torch.Tensor]:
    return load_file(folder / "runs" / run.id / "model.safetensors")


@pytest.fixture
def apart(folder: Path, plan: Plan, tmp_path: Path) -> Path:
    """The same shards and finished teachers, where a student can be trained again."""
    (tmp_path / "shards").symlink_to(folder / "shards")
    for run in (
        run_of(plan, "T1"),
        *(item.run for item in plan.runs if item.run.seed == 1),
    ):
        shutil.copytree(folder / "runs" / run.id, tmp_path / "runs" / run.id)
    return tmp_path


def test_every_role_of_the_experiment_is_measured(folder: Path, plan: Plan) -> None:
    for role in ("T1", "student", "labels_only", "T1_alone", "T1.linear"):
        found = _measured(folder, run_of(plan, role))
        assert {"top1", "top5", "clip_top1", "clip_top5", "held_out_top1", "best_epoch"} <= set(
            found
        ) and found["test_videos"] == 8
    asked = _measured(folder, run_of(plan, "T1.retrieval"))
    assert asked["test_videos"] == 8 and asked["gallery_videos"] == 16
    for prefix in ("", "maxpool_"):
        recalls = [asked[f"{prefix}recall_at_{k}"] for k in (1, 5, 10, 20, 50)]
        assert recalls == sorted(recalls) and recalls[-2:] == [
            100.0,
            100.0,
        ]  # of 16 videos, the first 20 are all
    assert {"teacher_ensemble_top1", "teacher_oracle_top1", "teacher_disagreement"} <= set(
        _measured(folder, run_of(plan, "student"))
    )


def test_what_roles_are_measured_by_is_what_tables_and_claims_may_name(
    folder: Path, plan: Plan
) -> None:
    measured = {
        name
        for cell in plan.records[0].cells
        for name in _measured(folder, run_of(plan, cell.role))
    }
    # It needs teachers that are right at times, a GPU with NVML, a run of version 0.2.
    others = {"teacher_error_correlation", "gpu_utilisation", "data_wait_share"}
    assert measured | others == set(get_args(Metric))


def test_the_report_has_a_row_for_every_probe_and_control(
    folder: Path, plan: Plan, tmp_path: Path
) -> None:
    for record in plan.records:
        save_record(folder / "runs", record)
    build_report(folder / "runs", to=tmp_path)
    for run, table, title in (
        ("T1.linear", "accuracy", "linear probe"),
        ("T1_alone", "accuracy", "T1 alone"),
    ):
        (line,) = [
            x for x in (tmp_path / "tables" / f"{table}.md").read_text().splitlines() if title in x
        ]
        assert f"{_measured(folder, run_of(plan, run))['top1']:.1f}" in line
    recall = _measured(folder, run_of(plan, "T1.retrieval"))["recall_at_1"]
    # The only row of its table, so no best one.
    assert f"| {recall:.1f} |" in (tmp_path / "tables" / "recall.md").read_text()


def test_a_teacher_of_another_seed_is_that_teacher_trained_with_it(plan: Plan) -> None:
    teacher, student = run_of(plan, "T1"), run_of(plan, "student")
    other = next(item.run for item in plan.runs if item.run.id == student.parents[1])
    assert (
        student.parents[0] == teacher.id
        and other.recipe == teacher.recipe
        and other.seed == teacher.seed + 1
    )
    assert run_of(plan, "T1_alone").parents == (teacher.id,)


def test_retrieval_is_what_loops_over_single_clips_find(folder: Path, plan: Plan) -> None:
    """Features of the pretrained backbone, one view at a time, averaged; neighbours sorted by
    cosine, one query at a time.
    """
    run = run_of(plan, "T1.retrieval")
    recipe = run.recipe
    assert isinstance(recipe, Retrieve) and recipe.evaluation.num_crops == 3
    backbone = build_backbone(recipe.backbone).eval()
    load_weights(folder / "runs" / run.parents[0] / "model.safetensors", backbone)

    def features(subset: Subset) -> list[tuple[int, torch.Tensor]]:
        found = []
        for video in load_videos(folder / "shards", subset, view=recipe.view)[0]:
            views = []
            frame_VT = evenly_spaced_clips(
                video.sample, recipe.view, recipe.evaluation.num_clips
            ).frame_VT
            for frame_T, number in itertools.product(frame_VT, range(3)):
                draw = sample_augment(
                    THREE_CROPS,
                    height=video.sample.height,
                    width=video.sample.width,
                    rng=np.random.default_rng(0),
                    draw_number=number,
                )
                top, left, height, width = draw.box
                frame_THWC = decode_frames(
                    video.tar, video.sample, frame_T.tolist(), decoder="pyav"
                )
                cut_THWC = torch.from_numpy(
                    frame_THWC[:, top : top + height, left : left + width].copy()
                )
                clip_1CTHW = apply_augment(
                    [cut_THWC],
                    [draw],
                    size_pixels=recipe.view.size_pixels,
                    device=torch.device("cpu"),
                )
                with torch.no_grad():
                    views.append(backbone.forward_pooled(clip_1CTHW)[0])
            found.append((video.sample.label, torch.stack(views).mean(0)))
        return found

    gallery, queries = features(recipe.data), features(recipe.evaluation.test)
    for k in (1, 5):
        hits = 0
        for label, feature_D in queries:
            near = sorted(
                gallery, key=lambda item: -float(torch.cosine_similarity(item[1], feature_D, dim=0))
            )
            hits += any(other == label for other, _ in near[:k])
        assert _measured(folder, run)[f"recall_at_{k}"] == 100 * hits / len(queries)


def test_a_linear_probe_leaves_the_pretrained_backbone_as_it_was(folder: Path, plan: Plan) -> None:
    probe, teacher = run_of(plan, "T1.linear"), run_of(plan, "T1")
    pretrained, probed, tuned = (
        load_file(folder / "runs" / i / "model.safetensors")
        for i in (*probe.parents, probe.id, teacher.id)
    )
    assert probe.parents == teacher.parents
    assert all(torch.equal(probed[f"backbone.{name}"], value) for name, value in pretrained.items())
    assert not all(
        torch.equal(tuned[f"backbone.{name}"], value) for name, value in pretrained.items()
    )
    assert set(probed) - {f"backbone.{name}" for name in pretrained} == {"fc.weight", "fc.bias"}


def test_the_kept_epoch_is_the_first_of_the_best_and_the_test_split_is_read_with_it(
    folder: Path, plan: Plan
) -> None:
    for role in ("T1", "student", "labels_only"):
        run, found = run_of(plan, role), _measured(folder, run_of(plan, role))
        curve = (
            pl.read_parquet(folder / "runs" / run.id / "curves.parquet")
            .filter(pl.col("name") == "held_out_accuracy")
            .sort("step")
        )
        scores = curve["value"].to_list()
        assert len(scores) == _schedule(run).epochs and max(scores) * 100 == found["held_out_top1"]
        assert found["best_epoch"] == 1 + scores.index(max(scores))
        rows = read_predictions(folder / "runs", [run.id]).frame
        right = sum(
            row["label"] == max(range(2), key=row["probability_K"].__getitem__)
            for row in rows.to_dicts()
        )
        assert found["top1"] == 100 * right / 8


def test_what_is_exported_is_that_epochs_weights_and_not_the_last(
    folder: Path, plan: Plan, apart: Path
) -> None:
    """A schedule cut off after the best epoch ends with the same weights: the rate does not depend
    on what comes later.
    """
    student = run_of(plan, "labels_only")
    still = {"decay": "steps", "milestones": (), "warmup_epochs": 0.0}
    long = targets.with_recipe(
        student, schedule=targets.changed(_schedule(student), epochs=6, **still)
    )
    folders = {}
    for run in (long, targets.with_recipe(long, selection=None)):
        folders[run.id] = targets.prepare(apart, run)
        assert main([str(folders[run.id].path)], stop=StopSignal()) == EXIT_DONE
    best = int(_measured(apart, long)["best_epoch"])
    assert best < 6
    short = targets.with_recipe(long, schedule=targets.changed(_schedule(long), epochs=best))
    run_folder = targets.prepare(apart, short)
    assert main([str(run_folder.path)], stop=StopSignal()) == EXIT_DONE
    assert sha256_of(run_folder.model) == sha256_of(folders[long.id].model)


@pytest.mark.parametrize("kill", [True, False], ids=["killed", "stopped"])
@pytest.mark.parametrize("num_checks", [2, 5])
def test_a_student_interrupted_anywhere_ends_with_the_same_weights(
    folder: Path, plan: Plan, apart: Path, num_checks: int, kill: bool
) -> None:
    student = run_of(plan, "student")
    run_folder = targets.prepare(apart, student)
    if kill:
        with pytest.raises(Killed):
            main([str(run_folder.path)], stop=StopAfter(num_checks, kill=True))
        assert run_folder.teacher_outputs.stat().st_size > 0
    else:
        assert main([str(run_folder.path)], stop=StopAfter(num_checks, kill=False)) == EXIT_STOPPED
        assert run_folder.checkpoint.exists()
    assert main([str(run_folder.path)], stop=StopSignal()) == EXIT_DONE
    unbroken = RunFolder(folder / "runs" / student.id)
    assert sha256_of(run_folder.model) == sha256_of(unbroken.model)
    assert run_folder.predictions.read_bytes() == unbroken.predictions.read_bytes()
    of_machine = ("clips_per_second", "train_seconds", "idle_share", "max_memory")
    same = [n for n in _measured(folder, student) if n not in of_machine]
    assert [_measured(apart, student)[n] for n in same] == [
        _measured(folder, student)[n] for n in same
    ]
    assert not run_folder.teacher_outputs.exists()


def test_the_log_has_start_epochs_result_and_from_where_it_went_on(
    plan: Plan, apart: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    student, teacher = run_of(plan, "student"), run_of(plan, "T1")
    run_folder = targets.prepare(apart, student)
    assert main([str(run_folder.path)], stop=StopAfter(4, kill=False)) == EXIT_STOPPED
    first = [line[20:] for line in capfd.readouterr().out.splitlines()]
    assert first[0] == f"distill {student.id}: a run"
    assert first[1].startswith("attempt 1 on ") and ", cpu with " in first[1]
    assert f"teacher {teacher.id}: a run" in first
    taught = "loss kl, weighting ca-mkd, temperature 4, weight of the labels 1, of the teachers 0.9"
    assert taught in first
    batches = "batches of at most 8, 3 epochs of 2 steps: 6 steps"
    assert any(
        line.startswith("trains on 14 videos of ") and line.endswith(batches) for line in first
    )
    assert any(line.startswith("step 1 of 6: loss ") for line in first)
    epoch = next(line for line in first if line.startswith("epoch 1 of 3, step 2 of 6: loss "))
    for part in ("train accuracy ", "held out ", "lr ", "clips/s", "idle ", " left"):
        assert part in epoch
    assert first[-1].startswith("stopped: ") and "; step 5 of 6, " in first[-1]
    assert main([str(run_folder.path)], stop=StopSignal()) == EXIT_DONE
    second = [line[20:] for line in capfd.readouterr().out.splitlines()]
    assert second[1].startswith("attempt 2 on ")
    assert "goes on from the checkpoint of step 5 of 6" in second
    top1, top5 = (f"{_measured(apart, student)[name]:.1f} %" for name in ("top1", "top5"))
    assert f"test top-1 {top1}, top-5 {top5}: 8 videos of ucf101/test01" in second
    assert second[-1].startswith("done; step 6 of 6, ")
    (row,) = load_run_rows(apart / "runs", only=run_folder)
    assert row.metric == f"test top-1 {top1}"


@pytest.mark.parametrize(
    ("role", "lines"),
    [
        ("T1.retrieval", ["features of ", "R@1 "]),
        ("labels_only", ["no teachers: the labels alone", "test top-1 "]),
        ("T1.linear", ["starts from ", "keeps epoch ", "test top-1 "]),
    ],
)
def test_the_log_of_every_kind_ends_with_its_result(
    folder: Path,
    plan: Plan,
    tmp_path: Path,
    role: str,
    lines: list[str],
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = run_of(plan, role)
    (tmp_path / "shards").symlink_to(folder / "shards")
    for parent in run.parents:
        shutil.copytree(folder / "runs" / parent, tmp_path / "runs" / parent)
    capfd.readouterr()
    assert main([str(targets.prepare(tmp_path, run).path)], stop=StopSignal()) == EXIT_DONE
    found = [line[20:] for line in capfd.readouterr().out.splitlines()]
    for start in lines:
        assert any(line.startswith(start) for line in found), found
    assert found[-1].startswith("done")


def test_lost_teacher_outputs_cost_time_and_change_nothing(
    folder: Path, plan: Plan, apart: Path
) -> None:
    student = run_of(plan, "student")
    run_folder = targets.prepare(apart, student)
    assert main([str(run_folder.path)], stop=StopAfter(4, kill=False)) == EXIT_STOPPED
    raw = bytearray(run_folder.teacher_outputs.read_bytes())
    raw[: len(raw) // 2] = bytes(len(raw) // 2)
    run_folder.teacher_outputs.write_bytes(raw)
    assert main([str(run_folder.path)], stop=StopSignal()) == EXIT_DONE
    assert sha256_of(run_folder.model) == sha256_of(RunFolder(folder / "runs" / student.id).model)


def test_remembering_teachers_changes_the_weights_by_rounding_alone(
    plan: Plan, apart: Path
) -> None:
    """With as many views as epochs nothing comes again, so both runs see the same batches. One
    epoch: rounding grows from step to step.
    """
    student = run_of(plan, "student")
    heads = []
    for num_views, parents in ((0, student.parents), (1, student.parents), (0, ())):
        schedule = targets.changed(_schedule(student), epochs=1)
        run = targets.changed(
            targets.with_recipe(
                student, selection=None, teacher_views=num_views, schedule=schedule
            ),
            parents=parents,
        )
        assert main([str(targets.prepare(apart, run).path)], stop=StopSignal()) == EXIT_DONE
        heads.append(_weights(apart, run)["fc.weight"])
    rounding, teaching = (float((heads[0] - other).abs().max()) for other in heads[1:])
    assert 0 < rounding < 2e-3 and teaching > 10 * rounding


def test_a_student_whose_maps_are_taught_leaves_a_student_and_no_embedding(
    plan: Plan, apart: Path
) -> None:
    student = run_of(plan, "student")
    run = targets.with_recipe(student, teacher_views=0, feature_weight=50.0)
    run_folder = targets.prepare(apart, run)
    assert main([str(run_folder.path)], stop=StopAfter(3, kill=False)) == EXIT_STOPPED
    assert main([str(run_folder.path)], stop=StopSignal()) == EXIT_DONE
    assert (
        _weights(apart, run).keys() == load_file(run_folder.parent(student.parents[0]).model).keys()
    )
    curve = (
        read_curves(run_folder.path.parent, [run.id])
        .frame.filter(name="feature")["value"]
        .to_list()
    )
    assert len(curve) == 3 and min(curve) > 0


def test_a_student_of_another_loss_and_of_named_layers_is_stopped_and_resumed_bit_for_bit(
    plan: Plan, apart: Path, tmp_path: Path
) -> None:
    """Dropping draws from each step's own seed, and projectors are part of the checkpoint."""
    student = run_of(plan, "student")
    run = targets.with_recipe(
        student,
        teacher_views=0,
        loss="dist",
        loss_terms=(2.0, 1.0),
        standardized_logits=True,
        label_smoothing=0.1,
        teacher_dropping=0.5,
        feature_weight=5.0,
        feature_loss="cosine-l1",
        feature_layers=("layer2:conv4", "layer2", "layer3:conv5"),
    )
    whole = targets.prepare(apart, run, runs="whole")
    for parent in run.parents:
        shutil.copytree(apart / "runs" / parent, apart / "whole" / parent)
    assert main([str(whole.path)], stop=StopSignal()) == EXIT_DONE
    run_folder = targets.prepare(apart, run)
    assert main([str(run_folder.path)], stop=StopAfter(3, kill=False)) == EXIT_STOPPED
    assert main([str(run_folder.path)], stop=StopSignal()) == EXIT_DONE
    ours, other = (load_file(folder.model) for folder in (run_folder, whole))
    assert all(np.array_equal(value, other[name]) for name, value in ours.items())


def test_epochs_come_again_after_as_many_as_asked(folder: Path, plan: Plan) -> None:
    recipe = run_of(plan, "student").recipe
    assert isinstance(recipe, Distill)
    videos, _ = load_videos(folder / "shards", recipe.data, view=recipe.view)

    def choose(
        chosen: Sequence[StoredVideo], rng: np.random.Generator
    ) -> tuple[list[ClipRequest], dict[str, np.ndarray]]:
        return [random_clip(v.sample, recipe.view, rng) for v in chosen], {}

    source = TrainingBatches(
        videos,
        view=recipe.view,
        batch_clips=8,
        seed=0,
        sample_clips=choose,
        clip_reader=ClipReader(decoder="pyav"),
        repeat_epochs=2,
    )
    plans = [source.plan(step) for step in range(6 * source.steps_per_epoch)]
    every = 2 * source.steps_per_epoch
    for step, found in enumerate(plans):
        first = plans[step % every]
        assert (found.keys, found.augment_params, found.requests) == (
            first.keys,
            first.augment_params,
            first.requests,
        )
        assert set(found.extra["view"].tolist()) == {step // source.steps_per_epoch % 2}
    assert plans[0].augment_params != plans[source.steps_per_epoch].augment_params


def test_a_teacher_of_other_classes_is_refused(plan: Plan, apart: Path) -> None:
    student = run_of(plan, "student")
    teacher = RunFolder(apart / "runs" / student.parents[1])
    facts = load_json(teacher.done)
    write_json(teacher.done, facts | {"classes": facts["classes"][::-1]})
    run_folder = targets.prepare(apart, student)
    assert main([str(run_folder.path)], stop=StopSignal()) == EXIT_USER
    reason = load_json(run_folder.status)["reason"]
    first, last = facts["classes"][0], facts["classes"][-1]
    assert f"{teacher.id}: this teacher's class 0 is {last}, its student's is {first}" in reason
