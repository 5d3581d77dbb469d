"""The runs of one experiment, registered case by case."""

from dataclasses import dataclass, replace

from kdbatch.base.errors import UserError
from kdbatch.plan.outside.imported_file import check_is_there, path_of
from kdbatch.plan.runs.recipe_builder import RecipeBuilder
from kdbatch.plan.runs.registry import RunRegistry
from kdbatch.plan.runs.titles import (
    import_title,
    map_title,
    pretrain_title,
    student_title,
    teacher_title,
)
from kdbatch.plan.specs import (
    Case,
    Experiment,
    PretrainSpec,
    Probe,
    StudentSpec,
    TeacherSpec,
    parse_teacher,
)
from kdbatch.vocab.plans.declarations import Map
from kdbatch.vocab.plans.records import Cell
from kdbatch.vocab.recipes.recipe import Recipe, subsets_of
from kdbatch.vocab.runs.folder import RunFolder


@dataclass(frozen=True)
class Resolver:
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
