"""Experiments -> Plan: every run once, whoever needs it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kdbatch.plan.cost import estimate_hours
from kdbatch.plan.experiment import Case, Experiment, PretrainSpec, StudentSpec, TeacherSpec, load_experiment
from kdbatch.plan.profile import Profile, load_profile
from kdbatch.vocab.backbones import BACKBONE_TITLES, Backbone
from kdbatch.vocab.config import Config
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.errors import UserError
from kdbatch.vocab.pick import pick
from kdbatch.vocab.plans import Cell, Map, Plan, PlannedRun, PlanRecord, Wave
from kdbatch.vocab.read import read
from kdbatch.vocab.recipes import KINDS, Compare, Distill, Evaluation, Finetune, Pretrain, Recipe, Schedule
from kdbatch.vocab.runs import Resources, Run, RunFolder
from kdbatch.vocab.shards import ShardIndex, Subset, find_subset, load_index
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import CENTER, Augment, View


def make_plan(files: Sequence[Path], *, profile: str, config: Config) -> Plan:
    """Plan the experiments in `files` at the scale of `profile`. Reads shard indexes and run folders, writes nothing.

    Raises:
        UserError: a mistake in a file, unknown names, missing shards, a subset larger than its split.
    """
    book = _Book(config=config)
    records = []
    for path in files:
        scale = load_profile(path, profile)
        experiment = load_experiment(path, scale)
        cells = [cell for seed in scale.seeds for cell in _Resolver(book, experiment, scale, seed, str(path)).cells()]
        records.append(_record(experiment, profile=profile, cells=cells))
    done = {run_id for run_id in book.runs if RunFolder(config.runs_dir / run_id).is_done()}
    planned = tuple(
        PlannedRun(
            run=run,
            title=book.titles[run_id],
            resources=config.resources.get(run.recipe.kind, Resources()),
            done=run_id in done,
            used_by=tuple(book.used_by[run_id]),
            cost_hours=estimate_hours(run.recipe, num_videos=book.num_videos.get(run_id, 0)),
        )
        for run_id, run in book.runs.items()
    )
    return Plan(records=tuple(records), runs=planned, waves=_waves(planned))


@dataclass(kw_only=True)
class _Book:
    """All runs of a plan by id, in the order in which they were first needed: parents first."""

    config: Config
    runs: dict[str, Run] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    used_by: dict[str, list[str]] = field(default_factory=dict)
    num_videos: dict[str, int] = field(default_factory=dict)
    indexes: dict[str, ShardIndex] = field(default_factory=dict)
    subsets: dict[tuple[str, str, str], Subset] = field(default_factory=dict)

    def add(self, recipe: Recipe, *, seed: int, parents: tuple[str, ...], title: str, experiment: str) -> str:
        run = Run(recipe=recipe, seed=seed, parents=parents)
        self.runs.setdefault(run.id, run)
        self.titles.setdefault(run.id, f"{title}, seed {seed}")
        self.num_videos.setdefault(run.id, self._count(recipe.data))
        users = self.used_by.setdefault(run.id, [])
        if experiment not in users:
            users.append(experiment)
        return run.id

    def subset(self, dataset: str, split: str, words: str, *, where: str) -> Subset:
        key = (dataset, split, words)
        if key not in self.subsets:
            pick(DATASETS, dataset, where=where)
            if dataset not in self.indexes:
                self.indexes[dataset] = load_index(self.config.shards_dir, dataset)
            self.subsets[key] = find_subset(self.indexes[dataset], split, words, where=where)
        return self.subsets[key]

    def _count(self, subset: Subset) -> int:
        part = self.indexes[subset.dataset].parts[DATASETS[subset.dataset].part_of[subset.split]]
        return subset.num_places or part.num_in_split.get(subset.split, 0)


@dataclass(frozen=True)
class _Resolver:
    """Turns one experiment and seed into runs."""

    book: _Book
    experiment: Experiment
    profile: Profile
    seed: int
    where: str

    def cells(self) -> list[Cell]:
        cells, roles_of = [], {}
        for case in self.experiment.cases:
            roles = self._case(case)
            roles_of[tuple(case.values.items())] = (case, roles)
            cells += [Cell(role=role, case=case.values, seed=self.seed, run_id=run_id) for role, run_id in roles.items()]
        for drawn in self.experiment.maps:
            for case, roles in roles_of.values():
                if case.values == drawn.at:
                    run_id = self._map(drawn, case, roles)
                    cells.append(Cell(role=f"map:{drawn.id}", case=case.values, seed=self.seed, run_id=run_id))
        return cells

    def _case(self, case: Case) -> dict[str, str]:
        roles = {role: self._teacher(role, spec) for role, spec in case.teachers.items()}
        return roles | {role: self._student(role, spec, roles) for role, spec in case.students.items()}

    def _teacher(self, role: str, spec: TeacherSpec) -> str:
        backbone = self._backbone(spec.backbone, role)
        parents = (self._pretrain(spec.pretrain, backbone, role),) if spec.pretrain else ()
        data, evaluation = self._target(spec.target, role)
        recipe = Finetune(
            backbone=backbone,
            data=data,
            view=self._view(Augment()),
            schedule=self.profile.finetune,
            evaluation=evaluation,
            dropout=self.profile.dropout,
        )
        origin = (
            f"{TASKS[spec.pretrain.task].title} on {spec.pretrain.dataset}[:{spec.pretrain.subset}]" if spec.pretrain else "random weights"
        )
        return self._add(recipe, parents, f"fine-tune {_name(backbone)} ({origin}) on {spec.target}")

    def _pretrain(self, spec: PretrainSpec, backbone: Backbone, role: str) -> str:
        task_spec = pick(TASKS, spec.task, where=f"{self.where}: {role}.pretrain.task")
        overrides = self.profile.tasks.get(spec.task, {})
        task = read(
            type(task_spec.at(spec.complexity)),
            dataclasses.asdict(task_spec.at(spec.complexity)) | overrides,
            where=f"profile.tasks.{spec.task}",
        )
        scale = self.profile.pretrain
        base_lr = task_spec.lr_of.get(backbone.kind, task_spec.lr)
        recipe = Pretrain(
            task=task,
            backbone=backbone,
            data=self._subset(spec.dataset, "pretrain", spec.subset, f"{role}.pretrain"),
            view=self._view(task_spec.augment),
            schedule=Schedule(
                epochs=scale.epochs,
                batch_clips=scale.batch_clips,
                lr=base_lr * scale.lr_factors.get(spec.task, 1.0) * scale.batch_clips / 64,
                weight_decay=task_spec.weight_decay,
                warmup_epochs=scale.warmup_epochs,
                final_lr_share=scale.final_lr_share,
            ),
        )
        title = f"pretrain {_name(backbone)} by {task_spec.title} C{spec.complexity} on {spec.dataset}[:{spec.subset}]"
        return self._add(recipe, (), title)

    def _student(self, role: str, spec: StudentSpec, roles: dict[str, str]) -> str:
        backbone = self._backbone(spec.backbone, role)
        data, evaluation = self._target(spec.target, role)
        recipe = Distill(
            backbone=backbone,
            data=data,
            view=self._view(Augment()),
            schedule=self.profile.distill,
            evaluation=evaluation,
            weighting=spec.weighting,
            temperature=spec.temperature,
            hard_weight=spec.hard_weight,
            soft_weight=spec.soft_weight,
            max_teacher_weight=spec.max_teacher_weight,
            dropout=self.profile.dropout,
        )
        if not spec.teachers:  # the fields that speak of teachers say nothing here, and must not split one run into several
            recipe = dataclasses.replace(recipe, weighting="none", temperature=1.0, soft_weight=0.0, max_teacher_weight=1.0)
        elif spec.weighting == "none":
            raise UserError(f"{self.where}: {role}.weighting: none is for a student without teachers. Write equal or ae-kd.")
        parents = tuple(roles[teacher] for teacher in spec.teachers)
        taught = f"from {' + '.join(spec.teachers)} ({spec.weighting})" if parents else "from labels only"
        return self._add(recipe, parents, f"train {_name(backbone)} {taught} on {spec.target}")

    def _map(self, drawn: Map, case: Case, roles: dict[str, str]) -> str:
        target = (case.teachers | case.students)[drawn.models[0]].target
        _, evaluation = self._target(target, drawn.id)
        scale = self.profile.compare
        recipe = Compare(
            data=evaluation.test,
            view=self._view(CENTER),
            layers=drawn.layers,
            num_clips=scale.num_clips,
            batch_clips=scale.batch_clips,
        )
        return self._add(recipe, tuple(roles[role] for role in drawn.models), f"CKA of {' and '.join(drawn.models)} on {target}")

    def _add(self, recipe: Recipe, parents: tuple[str, ...], title: str) -> str:
        return self.book.add(recipe, seed=self.seed, parents=parents, title=title, experiment=self.experiment.name)

    def _backbone(self, kind: str, role: str) -> Backbone:
        pick(BACKBONE_TITLES, kind, where=f"{self.where}: {role}.backbone")
        return read(Backbone, {"kind": kind, "width": self.profile.widths.get(kind, 1.0)}, where=f"profile.widths.{kind}")

    def _view(self, augment: Augment) -> View:
        return View(**dataclasses.asdict(self.profile.clip), augment=augment)

    def _target(self, dataset: str, role: str) -> tuple[Subset, Evaluation]:
        test = self._subset(dataset, "test", "all", role)
        return self._subset(dataset, "train", "all", role), Evaluation(test=test, num_clips=self.profile.num_eval_clips)

    def _subset(self, dataset: str, use: str, words: str, role: str) -> Subset:
        where = f"{self.where}: {role}"
        known = pick(DATASETS, dataset, where=f"{where}: data set")
        split = {"pretrain": known.pretrain_split, "train": known.train_split, "test": known.test_split}[use]
        return self.book.subset(dataset, split, words, where=where)


def _name(backbone: Backbone) -> str:
    return BACKBONE_TITLES[backbone.kind]


def _record(experiment: Experiment, *, profile: str, cells: list[Cell]) -> PlanRecord:
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
    )


def _waves(planned: Sequence[PlannedRun]) -> tuple[Wave, ...]:
    """Runs that are not done, by kind and resources. Kinds are in order of stages, so parents never come after children."""
    groups: dict[tuple[int, Resources], list[str]] = {}
    for item in planned:
        if not item.done:
            groups.setdefault((KINDS.index(item.run.recipe.kind), item.resources), []).append(item.run.id)
    ordered = sorted(groups.items(), key=lambda group: group[0][0])
    return tuple(Wave(name=KINDS[kind], resources=resources, run_ids=tuple(ids)) for (kind, resources), ids in ordered)
