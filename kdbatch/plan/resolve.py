"""Experiments -> Plan: every run once, whoever needs it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.parse import parse
from kdbatch.plan.clip_length import check_clip_length
from kdbatch.plan.experiment import load_experiment
from kdbatch.plan.profile import Profile, load_profile
from kdbatch.plan.run_registry import RunRegistry, group_into_waves
from kdbatch.plan.specs import (
    Case,
    Experiment,
    PretrainSpec,
    Probe,
    StudentSpec,
    TeacherSpec,
    parse_teacher,
)
from kdbatch.vocab.backbones import BACKBONE_TITLES, Backbone
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.plans import Cell, Map, Plan, PlannedRun, PlanRecord
from kdbatch.vocab.recipes import (
    Compare,
    Distill,
    Evaluation,
    Finetune,
    Pretrain,
    Recipe,
    Retrieve,
    Schedule,
)
from kdbatch.vocab.runs import Resources, RunFolder
from kdbatch.vocab.shards import Subset
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import CENTER_CROP, INNER_CROP, SQUARE_SIDE, Augment, View

MAX_AE_KD_TEACHERS = 8


def make_plan(files: Sequence[Path], *, profile: str, config: Config) -> Plan:
    """Plan the experiments in `files` at the scale of `profile`. Reads shard indexes and run
    folders, writes nothing.

    Raises:
        UserError: a mistake in a file, unknown names, missing shards, a subset larger than its
        split.
    """
    book = RunRegistry(config=config)
    records = []
    for path in files:
        scale = load_profile(path, profile)
        experiment = load_experiment(path, scale)
        cells = [
            cell
            for seed in scale.seeds
            for cell in _Resolver(book, experiment, scale, seed, str(path)).cells()
        ]
        records.append(_record(experiment, profile=profile, note=scale.note, cells=cells))
    done = {run_id for run_id in book.runs if RunFolder(config.runs_dir / run_id).is_done()}
    planned = tuple(
        PlannedRun(
            run=run,
            title=book.titles[run_id],
            resources=config.resources.get(run.recipe.kind, Resources()),
            done=run_id in done,
            used_by=tuple(book.used_by[run_id]),
            cost_hours=book.cost_hours(run_id),
        )
        for run_id, run in book.runs.items()
    )
    return Plan(records=tuple(records), runs=planned, waves=group_into_waves(planned))


@dataclass(frozen=True)
class _Resolver:
    """Turns one experiment and seed into runs."""

    registry: RunRegistry
    experiment: Experiment
    profile: Profile
    seed: int
    where: str

    def cells(self) -> list[Cell]:
        cells, roles_of = [], {}
        for case in self.experiment.cases:
            roles = self._case(case)
            roles_of[tuple(case.values.items())] = (case, roles)
            cells += [
                Cell(role=role, case=case.values, seed=self.seed, run_id=run_id)
                for role, run_id in roles.items()
            ]
        for drawn in self.experiment.maps:
            for case, roles in roles_of.values():
                if case.values == drawn.at:
                    run_id = self._map(drawn, case, roles)
                    cells.append(
                        Cell(
                            role=f"map:{drawn.id}", case=case.values, seed=self.seed, run_id=run_id
                        )
                    )
        return cells

    def _case(self, case: Case) -> dict[str, str]:
        roles = {
            role: self._teacher(role, spec, seed=self.seed) for role, spec in case.teachers.items()
        }
        roles |= {
            role: self._student(role, spec, case.teachers) for role, spec in case.students.items()
        }
        for probe in self.experiment.probes:
            asked = {role: spec for role, spec in case.teachers.items() if spec.pretrain}
            roles |= {
                f"{role}.{probe}": self._probe(probe, role, spec) for role, spec in asked.items()
            }
        return roles

    def _teacher(self, role: str, spec: TeacherSpec, *, seed: int) -> str:
        backbone = self._backbone(spec.backbone, role)
        parents = (
            (self._pretrain(spec.pretrain, backbone, role, seed=seed),) if spec.pretrain else ()
        )
        recipe = self._finetune(spec, role, schedule=self.profile.finetune)
        return self._add(
            recipe,
            parents,
            f"fine-tune {_name(backbone)} ({_origin(spec)}) on {spec.target}",
            seed=seed,
        )

    def _probe(self, probe: Probe, role: str, spec: TeacherSpec) -> str:
        """The teacher's pretrained backbone, asked as it is."""
        assert spec.pretrain is not None
        backbone = self._backbone(spec.backbone, role)
        parents = (self._pretrain(spec.pretrain, backbone, role, seed=self.seed),)
        what = f"{_name(backbone)} ({_origin(spec)}) on {spec.target}"
        if probe == "retrieval":
            data, evaluation = self._target(spec.target, role)
            recipe = Retrieve(
                backbone=backbone, data=data, view=self._view(INNER_CROP), evaluation=evaluation
            )
            return self._add(recipe, parents, f"retrieve with {what}", seed=self.seed)
        if self.profile.linear is None:
            raise UserError(
                f"{self.where}: probes: a linear probe needs a schedule, and the profile has none. "
                "Add to it, for example: linear: {epochs: 20, batch_clips: 64, lr: 0.1, weight_decay: 0.0}"
            )
        # Without dropout: a probe measures the features that are there, all of them.
        probed = dataclasses.replace(
            self._finetune(spec, role, schedule=self.profile.linear), trained="head", dropout=0.0
        )
        return self._add(probed, parents, f"linear probe of {what}", seed=self.seed)

    def _finetune(self, spec: TeacherSpec, role: str, *, schedule: Schedule) -> Finetune:
        data, evaluation = self._target(spec.target, role)
        return Finetune(
            backbone=self._backbone(spec.backbone, role),
            data=data,
            view=self._target_view(),
            schedule=schedule,
            evaluation=evaluation,
            selection=self.profile.selection.get(spec.target),
            dropout=self.profile.dropout,
        )

    def _pretrain(self, spec: PretrainSpec, backbone: Backbone, role: str, *, seed: int) -> str:
        task_spec = lookup(TASKS, spec.task, where=f"{self.where}: {role}.pretrain.task")
        scale = self.profile.pretrain_of.get(spec.task, self.profile.pretrain)
        base_lr = task_spec.lr_of.get(backbone.kind, task_spec.lr)
        recipe = Pretrain(
            task=self.profile.pretext_task(spec.task, spec.complexity),
            backbone=backbone,
            data=self._subset(spec.dataset, "pretrain", spec.subset, f"{role}.pretrain"),
            view=self._view(task_spec.augment.with_colours(scale.colours)),
            schedule=Schedule(
                epochs=scale.epochs,
                batch_clips=scale.batch_clips,
                lr=base_lr * scale.lr_factor * scale.batch_clips / 64,
                weight_decay=task_spec.weight_decay,
                warmup_epochs=scale.warmup_epochs,
                final_lr_share=scale.final_lr_share,
                num_micro_batches=scale.num_micro_batches,
            ),
        )
        check_clip_length(
            recipe, self.registry.indexes[spec.dataset], where=f"{self.where}: {role}.pretrain"
        )
        title = f"pretrain {_name(backbone)} by {task_spec.title} C{spec.complexity} on {spec.dataset}[:{spec.subset}]"
        return self._add(recipe, (), title, seed=seed)

    def _student(self, role: str, spec: StudentSpec, teachers: dict[str, TeacherSpec]) -> str:
        backbone = self._backbone(spec.backbone, role)
        data, evaluation = self._target(spec.target, role)
        recipe = Distill(
            backbone=backbone,
            data=data,
            view=self._target_view(),
            schedule=self.profile.distill,
            evaluation=evaluation,
            selection=self.profile.selection.get(spec.target),
            teacher_views=self.profile.teacher_views,
            weighting=spec.weighting,
            temperature=spec.temperature,
            hard_weight=spec.hard_weight,
            soft_weight=spec.soft_weight,
            max_teacher_weight=spec.max_teacher_weight,
            feature_weight=spec.feature_weight if spec.teachers else 0.0,
            dropout=self.profile.dropout,
        )
        # the fields that speak of teachers say nothing here, and must not split one run into
        # several
        if not spec.teachers:
            recipe = dataclasses.replace(
                recipe, weighting="none", temperature=1.0, soft_weight=0.0, max_teacher_weight=1.0
            )
        elif spec.weighting == "none":
            raise UserError(
                f"{self.where}: {role}.weighting: none is for a student without teachers. Write equal, ae-kd or ca-mkd."
            )
        elif spec.weighting == "ae-kd" and len(spec.teachers) > MAX_AE_KD_TEACHERS:
            raise UserError(
                f"{self.where}: {role}.teachers: found {len(spec.teachers)}, and ae-kd tries every way to bound their weights. "
                f"Name at most {MAX_AE_KD_TEACHERS}, or write weighting: equal."
            )
        named = [
            parse_teacher(word, where=f"{self.where}: {role}.teachers") for word in spec.teachers
        ]
        parents = tuple(
            self._teacher(name, teachers[name], seed=self.seed + ahead) for name, ahead in named
        )
        taught = _title_of_teachers(
            [(teachers[name], ahead) for name, ahead in named], student=spec.backbone
        )
        source = f"{taught} ({spec.weighting})" if parents else "labels only"
        return self._add(
            recipe,
            parents,
            f"train {_name(backbone)} on {spec.target} from {source}",
            seed=self.seed,
        )

    def _map(self, drawn: Map, case: Case, roles: dict[str, str]) -> str:
        target = (case.teachers | case.students)[drawn.models[0]].target
        _, evaluation = self._target(target, drawn.id)
        scale = self.profile.compare
        recipe = Compare(
            data=evaluation.test,
            view=self._view(CENTER_CROP),
            layers=drawn.layers,
            num_clips=scale.num_clips,
            batch_clips=scale.batch_clips,
        )
        title = f"CKA of {' and '.join(drawn.models)} on {target}"
        return self._add(recipe, tuple(roles[role] for role in drawn.models), title, seed=self.seed)

    def _add(self, recipe: Recipe, parents: tuple[str, ...], title: str, *, seed: int) -> str:
        return self.registry.add(
            recipe, seed=seed, parents=parents, title=title, experiment=self.experiment.name
        )

    def _backbone(self, kind: str, role: str) -> Backbone:
        lookup(BACKBONE_TITLES, kind, where=f"{self.where}: {role}.backbone")
        return parse(
            Backbone,
            {"kind": kind, "width": self.profile.widths.get(kind, 1.0)},
            where=f"profile.widths.{kind}",
        )

    def _view(self, augment: Augment) -> View:
        return View(**dataclasses.asdict(self.profile.clip), augment=augment)

    def _target_view(self) -> View:
        crop = self.profile.finetune_crop
        if crop == "random":
            return self._view(Augment(crop="random", square_side=SQUARE_SIDE))
        return self._view(CENTER_CROP if crop == "center" else Augment(crop=crop))

    def _target(self, dataset: str, role: str) -> tuple[Subset, Evaluation]:
        test = self._subset(dataset, "test", "all", role)
        return self._subset(dataset, "train", "all", role), Evaluation(
            test=test, num_clips=self.profile.num_eval_clips, num_crops=self.profile.num_eval_crops
        )

    def _subset(self, dataset: str, use: str, words: str, role: str) -> Subset:
        where = f"{self.where}: {role}"
        known = lookup(DATASETS, dataset, where=f"{where}: data set")
        split = {
            "pretrain": known.pretrain_split,
            "train": known.train_split,
            "test": known.test_split,
        }[use]
        return self.registry.subset(dataset, split, words, where=where)


def _origin(spec: TeacherSpec) -> str:
    return "".join(_task_and_place(spec))


def _task_and_place(spec: TeacherSpec) -> tuple[str, str]:
    made = spec.pretrain
    return (
        (f"{TASKS[made.task].title} C{made.complexity}", f" on {made.dataset}[:{made.subset}]")
        if made
        else ("random weights", "")
    )


def _title_of_teachers(teachers: Sequence[tuple[TeacherSpec, int]], *, student: str) -> str:
    """Teachers, and how many seeds on each was trained, by their pretraining: T1 of one experiment
    or case is not T1 of another. The place that all share is named once.
    """
    tasks, places = [], []
    for spec, ahead in teachers:
        task, place = _task_and_place(spec)
        network = "" if spec.backbone == student else f"{BACKBONE_TITLES[spec.backbone]} "
        tasks.append(f"{network}{task}{f'@{ahead}' if ahead else ''}")
        places.append(place)
    if len(set(places)) == 1:
        return " + ".join(tasks) + places[0]
    return " + ".join(task + place for task, place in zip(tasks, places, strict=True))


def _name(backbone: Backbone) -> str:
    return BACKBONE_TITLES[backbone.kind]


def _record(experiment: Experiment, *, profile: str, note: str, cells: list[Cell]) -> PlanRecord:
    return PlanRecord(
        experiment=experiment.name,
        title=experiment.title,
        profile=profile,
        source=experiment.source,
        axes=experiment.axes,
        roles=experiment.roles,
        tables=experiment.tables,
        maps=experiment.maps,
        claims=experiment.claims,
        cells=tuple(cells),
        references=experiment.references,
        note=note,
    )
