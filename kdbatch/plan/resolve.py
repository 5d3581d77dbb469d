"""Turns experiments into a Plan, in which a run that several of them need stands once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdbatch.base.errors import UserError
from kdbatch.plan.costs.estimator import Estimator
from kdbatch.plan.costs.finished import done_files, load_finished_runs
from kdbatch.plan.experiment import parse_experiment
from kdbatch.plan.known_datasets import KnownDatasets
from kdbatch.plan.outside.imported_file import check_is_there, path_of
from kdbatch.plan.outside.outside_file import is_outside, outside_record
from kdbatch.plan.profiles.profile import Profile, load_profile
from kdbatch.plan.recipe_builder import RecipeBuilder
from kdbatch.plan.run_registry import RunRegistry, group_into_waves
from kdbatch.plan.run_titles import (
    import_title,
    map_title,
    pretrain_title,
    student_title,
    teacher_title,
    timeline_title,
    value_titles,
)
from kdbatch.plan.shipped_jobs import check_experiment_exists
from kdbatch.plan.specs import (
    Case,
    Experiment,
    PretrainSpec,
    Probe,
    StudentSpec,
    TeacherSpec,
    parse_teacher,
)
from kdbatch.plan.subsets import SubsetFinder, describe_missing, shard_commands
from kdbatch.plan.video_checks.batch_parts import check_batches
from kdbatch.plan.video_checks.frame_rates import clip_rates
from kdbatch.plan.yaml_loader import load_yaml
from kdbatch.vocab.config import Config
from kdbatch.vocab.plans.declarations import Map
from kdbatch.vocab.plans.plan import Plan, PlannedRun
from kdbatch.vocab.plans.records import Cell, PlanRecord, RecordedRun
from kdbatch.vocab.recipes.recipe import Recipe, subsets_of
from kdbatch.vocab.runs.folder import RunFolder


def make_plan(
    files: Sequence[Path],
    *,
    profile: str,
    config: Config,
    has_gpus: bool = True,
    datasets: KnownDatasets | None = None,
) -> Plan:
    """Plan the experiments in `files` at the scale of `profile`.

    Reads shard indexes and run folders, writes nothing. Videos that are not stored are planned by
    their published number, those of own data sets by what `datasets` lists; `require_shards`
    refuses such a plan. The costs are for GPUs where the runs will have some (`has_gpus`), else for
    CPUs.

    Raises:
        UserError: a mistake in a file, unknown names, a subset larger than its split.
    """
    subsets = SubsetFinder(datasets=datasets or KnownDatasets(config=config))
    registry = RunRegistry(subsets=subsets)
    records = tuple(_plan_experiment(path, profile=profile, registry=registry) for path in files)
    done = done_files(config.runs_dir)
    finished, warnings = load_finished_runs(config.runs_dir, registry.runs, done)
    estimator = Estimator(
        runs=registry.runs,
        subsets=subsets,
        finished=finished,
        has_gpus=has_gpus,
    )
    planned = tuple(
        _planned_run(run_id, registry, config=config, estimator=estimator, is_done=run_id in done)
        for run_id in registry.runs
    )
    for path, record in zip(files, records, strict=True):
        for item in planned:
            if record.experiment in item.used_by and not item.done:
                num_videos = estimator.num_videos(item.run.recipe)[0]
                check_batches(item, num_videos=num_videos, has_gpus=has_gpus, where=str(path))
    records = tuple(
        replace(
            _with_runs(record, planned, subsets),
            titles=value_titles(record.axes, config.datasets),
        )
        for record in records
    )
    return Plan(
        records=records,
        runs=planned,
        waves=group_into_waves(planned),
        shard_bytes=subsets.num_bytes(),
        missing=subsets.missing,
        warnings=(
            *warnings,
            *subsets.unread_lists,
            *registry.notes,
            *_outside_notes(records),
        ),
        encodings=subsets.encodings(),
    )


def require_shards(plan: Plan, *, slurm: bool) -> Plan:
    """The plan itself, if all of its videos are stored.

    Raises:
        UserError: some are not; the message has the commands that store them (by `slurm`), one a
            line.
    """
    if not plan.missing:
        return plan
    commands = [f"  {command}" for command in shard_commands(plan.missing, slurm=slurm)]
    raise UserError(f"{describe_missing(plan.missing)} Store them first:", *commands)


def _plan_experiment(path: Path, *, profile: str, registry: RunRegistry) -> PlanRecord:
    """Register the runs of an experiment, and return its record."""
    check_experiment_exists(path)
    raw = load_yaml(path)
    if is_outside(raw):
        return outside_record(path, raw, profile=profile)
    scale = load_profile(path, profile, datasets=registry.subsets.datasets.names)
    experiment = parse_experiment(path, raw, scale)
    folds = sorted({1, *(fold for folds in scale.folds.values() for fold in folds)})
    parts = _on_each_timeline(experiment, scale)
    builders = [
        (part, RecipeBuilder(registry, at_rate, str(path), fold), title)
        for fold in folds
        for part, at_rate, title in parts
    ]
    cells: list[Cell] = []
    for seed in scale.seeds:
        for part, builder, title in builders:
            cells += _Resolver(registry, part, builder, title, seed).cells()
    return PlanRecord(
        experiment=experiment.name,
        title=experiment.title,
        profile=profile,
        source=experiment.source,
        question=experiment.question,
        sources=experiment.sources,
        axes=experiment.axes,
        roles=experiment.roles,
        tables=experiment.tables,
        maps=experiment.maps,
        claims=experiment.claims,
        untestable=experiment.untestable,
        cells=tuple(cells),
        references=experiment.references,
        note=scale.note,
    )


def _on_each_timeline(
    experiment: Experiment, scale: Profile
) -> list[tuple[Experiment, Profile, str]]:
    """The cases of each timeline, the profile with it, and how titles of runs end there."""
    timelines = dict.fromkeys(case.timeline for case in experiment.cases)
    found = []
    for timeline in timelines:
        cases = tuple(case for case in experiment.cases if case.timeline == timeline)
        clip = scale.clip.on(timeline)
        title = timeline_title(clip, scale.clip)
        found.append((replace(experiment, cases=cases), replace(scale, clip=clip), title))
    return found


def _outside_notes(records: Sequence[PlanRecord]) -> Iterator[str]:
    """A line on each experiment whose runs another trainer makes."""
    for record in records:
        if record.is_outside:
            yield (
                f"{record.experiment}: its {len(record.runs)} runs are made by another trainer, "
                "whose results kdbatch.write_results writes (docs/OWN_RESULTS.md)."
            )


def _with_runs(
    record: PlanRecord, planned: Sequence[PlannedRun], subsets: SubsetFinder
) -> PlanRecord:
    """The record with the runs that its experiment needs, and the rates of their videos."""
    if record.is_outside:
        return record
    items = [item for item in planned if record.experiment in item.used_by]
    runs = [
        RecordedRun(
            id=item.run.id,
            title=item.title,
            kind=item.run.recipe.kind,
            device_hours=float(f"{item.cost.device_hours:.3g}"),
        )
        for item in items
    ]
    rates = clip_rates((item.run.recipe for item in items), subsets)
    return replace(record, runs=tuple(runs), rates=rates)


def _planned_run(
    run_id: str, registry: RunRegistry, *, config: Config, estimator: Estimator, is_done: bool
) -> PlannedRun:
    run = registry.runs[run_id]
    resources = config.resources_of(run.recipe.kind)
    return PlannedRun(
        run=run,
        title=registry.titles[run_id],
        resources=resources,
        done=is_done,
        used_by=tuple(registry.used_by[run_id]),
        provisional=registry.is_provisional(run_id),
        cost=estimator.estimate(run, num_gpus=resources.gpus),
        file=registry.files.get(run_id),
    )


@dataclass(frozen=True)
class _Resolver:
    """Registers the runs of one experiment with one seed and fold, parents before children.

    `timeline` ends the titles of all runs whose clips are not on the profile's timeline.
    """

    registry: RunRegistry
    experiment: Experiment
    recipes: RecipeBuilder
    timeline: str
    seed: int

    def cells(self) -> list[Cell]:
        """One cell per role and case whose target has the fold, then one per map."""
        cells, runs_by_case = [], []
        for case in self.experiment.cases:
            runs = self._case(case)
            runs_by_case.append((case, runs))
            cells += [self._cell(role, case, run_id) for role, run_id in runs.items()]
        for drawn in self.experiment.maps:
            for case, runs in runs_by_case:
                is_first = self._is_first_fold_of(case.networks[drawn.models[0]])
                if case.values == drawn.at and is_first:
                    cells.append(self._cell(f"map:{drawn.id}", case, self._map(drawn, case, runs)))
        return cells

    def _cell(self, role: str, case: Case, run_id: str) -> Cell:
        fold = self.recipes.fold
        return Cell(role=role, case=case.values, seed=self.seed, run_id=run_id, fold=fold)

    def _has_fold(self, spec: TeacherSpec | StudentSpec) -> bool:
        return self.recipes.fold in self.recipes.profile.folds_of(spec.target)

    def _is_first_fold_of(self, spec: TeacherSpec | StudentSpec) -> bool:
        return self.recipes.fold == self.recipes.profile.folds_of(spec.target)[0]

    def _is_read(self, role: str, case: Case) -> bool:
        """Whether the experiment reads a student's results in this case and fold.

        A control that only maps name is read where a map is drawn of it.
        """
        spec = case.students[role]
        if not self.experiment.is_for_maps(role):
            return self._has_fold(spec)
        is_drawn = any(case.values == m.at for m in self.experiment.maps if role in m.models)
        return is_drawn and self._is_first_fold_of(spec)

    def _case(self, case: Case) -> dict[str, str]:
        """Role -> run id of a case."""
        runs = {}
        for role, spec in case.teachers.items():
            if self._has_fold(spec):
                runs[role] = self._teacher(role, spec, seed=self.seed)
        for role in case.students:
            if self._is_read(role, case):
                runs[role] = self._student(role, case)
        for probe in self.experiment.probes:
            for role, spec in case.teachers.items():
                if spec.is_pretrained and self._has_fold(spec):
                    runs[f"{role}.{probe}"] = self._probe(probe, role, spec)
        return runs

    def _teacher(self, role: str, spec: TeacherSpec, *, seed: int) -> str:
        if spec.is_ready:
            return self._import(role, spec)
        parents = self._start(role, spec, seed=seed)
        recipe = self.recipes.finetune(spec, role)  # before the title: it checks the names
        title = f"fine-tune {teacher_title(spec)}"
        return self._add(recipe, parents, title, seed=seed)

    def _start(self, role: str, spec: TeacherSpec, *, seed: int) -> tuple[str, ...]:
        """The run whose backbone a teacher is fine-tuned from; none for random weights."""
        if spec.pretrain:
            return (self._pretrain(spec.pretrain, spec.backbone, role, seed=seed),)
        return (self._import(role, spec),) if spec.is_pretrained else ()

    def _import(self, role: str, spec: TeacherSpec) -> str:
        """The import of a teacher from elsewhere, one for all seeds: nothing of it is drawn."""
        recipe = self.recipes.imported(spec, role)
        run_id = self._add(recipe, (), import_title(spec), seed=0)
        config = self.registry.subsets.datasets.config
        if not RunFolder(config.runs_dir / run_id).is_known_done():
            check_is_there(spec, where=f"{self.recipes.where}: {role}")
        self.registry.files[run_id] = path_of(spec)
        return run_id

    def _probe(self, probe: Probe, role: str, spec: TeacherSpec) -> str:
        """A measurement of the teacher's backbone as it is after pretraining."""
        parents = self._start(role, spec, seed=self.seed)
        if probe == "retrieval":
            title = f"retrieve with {teacher_title(replace(spec, schedule={}))}"
            return self._add(self.recipes.retrieve(spec, role), parents, title, seed=self.seed)
        title = f"linear probe of {teacher_title(replace(spec, schedule={}))}"
        return self._add(self.recipes.linear_probe(spec, role), parents, title, seed=self.seed)

    def _pretrain(self, spec: PretrainSpec, backbone: str, role: str, *, seed: int) -> str:
        recipe = self.recipes.pretrain(spec, backbone=backbone, role=role)
        return self._add(recipe, (), pretrain_title(spec, backbone=backbone), seed=seed)

    def _student(self, role: str, case: Case) -> str:
        """Its parents are its teachers, then the pretraining that it starts from, then the student
        that has its accuracy (Run.teachers).
        """
        spec, teachers = case.students[role], case.teachers
        recipe = self.recipes.distill(spec, role)
        where = f"{self.recipes.where}: {role}.teachers"
        parents, taught_by = [], []
        for text in spec.teachers:
            name, seed_offset = parse_teacher(text, where=where)
            parents.append(self._teacher(name, teachers[name], seed=self.seed + seed_offset))
            taught_by.append((teachers[name], seed_offset))
        start = teachers[spec.starts_from] if spec.starts_from else None
        if start:
            parents += self._start(spec.starts_from, start, seed=self.seed)
        if spec.accuracy_of:
            parents.append(self._student(spec.accuracy_of, case))
        title = student_title(spec, taught_by, start=start)
        return self._add(recipe, tuple(parents), title, seed=self.seed)

    def _map(self, drawn: Map, case: Case, runs: dict[str, str]) -> str:
        spec = case.networks[drawn.models[0]]
        recipe = self.recipes.compare(drawn, spec)
        name = self.experiment.name
        for role in drawn.models:
            if getattr(case.networks[role], "outputs", ""):
                raise UserError(
                    f"{self.recipes.where}: maps.{drawn.id}.models: {role} has outputs and no "
                    "layers. Name another role."
                )
        title = map_title(drawn, target=spec.target, experiment=name, case=case.values)
        parents = () if drawn.untrained else tuple(runs[role] for role in drawn.models)
        return self._add(recipe, parents, title, seed=self.seed)

    def _add(self, recipe: Recipe, parents: tuple[str, ...], title: str, *, seed: int) -> str:
        for data in subsets_of(recipe)[:1]:
            fold = self.registry.subsets.dataset(data.dataset).fold_of(data.split)
            title += f", fold {fold}" if fold > 1 else ""
        return self.registry.add(
            recipe,
            seed=seed,
            parents=parents,
            title=f"{title}{self.timeline}",
            experiment=self.experiment.name,
        )
