"""Builds recipes: the networks of an experiment's case at the scale of a profile."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.reading.field_facts import check_number
from kdbatch.base.text import plural
from kdbatch.plan.outside.imported_file import class_names, sha256_in
from kdbatch.plan.profiles.changes import changed, changed_schedule
from kdbatch.plan.runs.recipe_parts import RecipeParts
from kdbatch.plan.specs import PretrainSpec, StudentSpec, TeacherSpec
from kdbatch.plan.video_checks.clip_length import check_clip_length
from kdbatch.plan.video_checks.frame_rates import leave_out_slow
from kdbatch.vocab.distillation.losses import check_classes_suffice, terms_of
from kdbatch.vocab.distillation.weightings import WEIGHTING_SPECS
from kdbatch.vocab.plans.declarations import Map
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import NO_WEIGHTING, Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.imported import Import, ImportedClasses
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.retrieve import Retrieve
from kdbatch.vocab.recipes.schedule import Schedule
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.tasks import TASKS
from kdbatch.vocab.views import CENTER_CROP, INNER_CROP

MAX_AE_KD_TEACHERS = 8
LR_BATCH_CLIPS = 64  # the learning rates of pretext tasks are for batches of this size, as RSPNet's


_Args = ParamSpec("_Args")
_Made = TypeVar("_Made")


def _once(
    method: Callable[Concatenate["RecipeBuilder", _Args], _Made],
) -> Callable[Concatenate["RecipeBuilder", _Args], _Made]:
    """Make each recipe once: it has no seed, so that all seeds of a case share it."""

    @wraps(method)
    def make(self: "RecipeBuilder", *args: _Args.args, **kwargs: _Args.kwargs) -> _Made:
        key = (method.__name__, repr(args), repr(kwargs))  # specs have mappings
        if key not in self.made:
            self.made[key] = method(self, *args, **kwargs)
        return self.made[key]

    return make


@dataclass(frozen=True)
class RecipeBuilder(RecipeParts):
    """Turns the specs of one experiment into recipes."""

    made: dict[Any, Any] = field(default_factory=dict)

    @_once
    def pretrain(self, spec: PretrainSpec, *, backbone: str, role: str) -> Pretrain:
        where = f"{self.where}: {role}.pretrain"
        network = self._backbone(backbone, role)
        task_spec = lookup(TASKS, spec.task, where=f"{where}.task")
        scale = self.profile.pretrain_of.get(spec.task, self.profile.pretrain)
        scale = changed_schedule(scale, spec.schedule, where=f"{where}.schedule")
        own = self.profile.training_of(network.kind)
        task_lr = own.pretrain_lr or task_spec.lr_of.get(network.kind, task_spec.lr)
        lr = task_lr * scale.lr_factor * scale.batch_clips / LR_BATCH_CLIPS
        check_number(Schedule, "lr", lr, where=f"{where}: lr_factor x batch_clips / 64 x its rate")
        schedule = Schedule(
            epochs=scale.epochs,
            batch_clips=scale.batch_clips,
            lr=lr,
            weight_decay=task_spec.weight_decay,
            warmup_epochs=scale.warmup_epochs,
            final_lr_share=scale.final_lr_share,
            num_micro_batches=scale.num_micro_batches,
        )
        recipe = Pretrain(
            task=self.profile.pretext_task(spec.task, spec.complexity),
            backbone=network,
            data=self._pretrain_data(spec, where=where),
            view=self._view(
                changed(
                    task_spec.augment.with_colours(scale.colours),
                    spec.augment,
                    where=f"{where}.augment",
                )
            ),
            schedule=own.applied(schedule, lr=None),
        )
        index = self.registry.subsets.index_of(spec.dataset)
        if index and recipe.data.digest:
            check_clip_length(recipe, index, where=where)
        rates = self.registry.subsets.rates_of(recipe.data)
        return leave_out_slow(recipe, rates, where=where)

    @_once
    def finetune(self, spec: TeacherSpec, role: str) -> Finetune:
        own, where = self.profile.training_of(spec.backbone), f"{self.where}: {role}.schedule"
        usual = own.applied(self.profile.finetune, lr=own.finetune_lr)
        schedule = changed_schedule(usual, spec.schedule, where=where)
        return self._finetune(spec, role, schedule=schedule)

    @_once
    def linear_probe(self, spec: TeacherSpec, role: str) -> Finetune:
        """A linear probe of the teacher's pretrained backbone.

        It has no dropout, because it measures all of the features.
        """
        if self.profile.linear is None:
            raise UserError(
                f"{self.where}: probes: a linear probe needs a schedule, and the profile has none. "
                "Add to it, for example: "
                "linear: {epochs: 20, batch_clips: 64, lr: 0.1, weight_decay: 0.0}"
            )
        recipe = self._finetune(spec, role, schedule=self.profile.linear)
        return dataclasses.replace(recipe, trained="head", dropout=0.0)

    @_once
    def imported(self, spec: TeacherSpec, role: str) -> Import:
        """A backbone from elsewhere; with its classes, a classifier or its outputs."""
        where = f"{self.where}: {role}"
        sha256 = sha256_in(spec, where=where)
        if not spec.sha256:
            line = f"{where}: its file may change without a word. Add the line sha256: {sha256}"
            self.registry.notes[line] = None
        return Import(
            sha256=sha256,
            backbone=self._backbone(spec.backbone, role) if spec.backbone else None,
            keys=tuple(sorted(spec.keys.items())),
            classifier=self._imported_classes(spec, role) if spec.classes else None,
        )

    def _imported_classes(self, spec: TeacherSpec, role: str) -> ImportedClasses:
        where = f"{self.where}: {role}"
        data, evaluation = self._target(spec.target, role)
        found = ImportedClasses(
            names=class_names(spec, where=where),
            data=data,
            view=self._view(CENTER_CROP),
            evaluation=evaluation,
        )
        index = self.registry.subsets.index_of(spec.target)
        try:
            found.rows_of(index.classes if index else ())
        except UserError as error:
            raise UserError(f"{where}.{error}") from error
        if len(found.names) < data.num_classes:
            raise UserError(
                f"{where}.classes: {spec.classes} has {len(found.names)} names, and {spec.target} "
                f"has {data.num_classes} classes. Write all of them."
            )
        return found

    @_once
    def retrieve(self, spec: TeacherSpec, role: str) -> Retrieve:
        data, evaluation = self._target(spec.target, role)
        return Retrieve(
            backbone=self._backbone(spec.backbone, role),
            data=data,
            view=self._view(INNER_CROP),
            evaluation=evaluation,
        )

    @_once
    def distill(self, spec: StudentSpec, role: str) -> Distill:
        self._check_student(spec, role)
        network = self._backbone(spec.backbone, role)
        own = self.profile.training_of(network.kind)
        data, evaluation = self._target(spec.target, role)
        view, where = self._target_view(spec, role), f"{self.where}: {role}.schedule"
        usual = own.applied(self.profile.distill, lr=own.distill_lr)
        schedule = changed_schedule(usual, spec.schedule, where=where)
        try:
            self._check_num_classes(spec, data)
            recipe = Distill(
                backbone=network,
                data=data,
                view=view,
                schedule=schedule,
                evaluation=evaluation,
                selection=self._selection(data, role),
                teacher_views=self.profile.teacher_views,
                weighting=spec.weighting,
                temperature=spec.temperature,
                hard_weight=spec.hard_weight,
                soft_weight=spec.soft_weight,
                max_teacher_weight=spec.max_teacher_weight,
                feature_weight=spec.feature_weight if spec.teachers else 0.0,
                dropout=self.profile.dropout,
                soft_target=spec.soft_target,
                start="pretrained" if spec.starts_from else "random",
                kept_epoch="equal-accuracy" if spec.accuracy_of else "best",
                videos_per_class=spec.videos_per_class,
                loss=spec.loss,
                loss_terms=spec.loss_terms or terms_of(spec.loss),
                standardized_logits=spec.standardized_logits,
                label_smoothing=spec.label_smoothing,
                teacher_dropping=spec.teacher_dropping,
                feature_loss=spec.feature_loss,
                feature_layers=spec.feature_layers,
            )
        except UserError as error:  # two fields that do not go together
            raise UserError(f"{self.where}: {role}.{error}") from error
        return recipe if spec.teachers else recipe.without_teachers()

    def compare(self, drawn: Map, spec: TeacherSpec | StudentSpec) -> Compare:
        """A map of networks that have the target of `spec`, the first of them."""
        _, evaluation = self._target(spec.target, drawn.id)
        num_videos = self.registry.subsets.count(evaluation.test)
        if self.profile.compare.batch_clips > num_videos:
            raise UserError(
                f"{self.where}: {drawn.id}: the profile's compare.batch_clips is "
                f"{self.profile.compare.batch_clips:,}, and {evaluation.test.title} has "
                f"{plural(num_videos, 'video')}, of which a map takes one clip each. Write at most "
                "that in the profile."
            )
        return Compare(
            data=evaluation.test,
            view=self._view(CENTER_CROP),
            layers=drawn.layers,
            num_clips=self.profile.compare.num_clips,
            batch_clips=self.profile.compare.batch_clips,
            untrained=self._backbone(spec.backbone, drawn.id) if drawn.untrained else None,
        )

    def _check_student(self, spec: StudentSpec, role: str) -> None:
        if spec.teachers and spec.weighting == NO_WEIGHTING:
            raise UserError(
                f"{self.where}: {role}.weighting: none is for a student without teachers. "
                f"Write one of: {', '.join(WEIGHTING_SPECS)}."
            )
        if spec.weighting == "ae-kd" and len(spec.teachers) > MAX_AE_KD_TEACHERS:
            raise UserError(
                f"{self.where}: {role}.teachers: found {len(spec.teachers)}, but ae-kd is limited "
                f"to {MAX_AE_KD_TEACHERS}: it tries every combination of bounded weights. Name at "
                f"most {MAX_AE_KD_TEACHERS}, or write weighting: equal."
            )
        if spec.accuracy_of and spec.target not in self.profile.selection:
            raise UserError(
                f"{self.where}: {role}.accuracy_of: accuracies are compared on held-out videos, "
                f"and the profile holds none of {spec.target} out. Add to it selection: "
                f"{{{spec.target}: {{share: 0.1}}}}, or leave_out: [{role}]."
            )

    @staticmethod
    def _check_num_classes(spec: StudentSpec, data: Subset) -> None:
        if spec.teachers:
            check_classes_suffice(
                spec.loss,
                standardized=spec.standardized_logits,
                num_classes=data.num_classes,
                dataset=spec.target,
            )

    def _finetune(self, spec: TeacherSpec, role: str, *, schedule: Schedule) -> Finetune:
        data, evaluation = self._target(spec.target, role)
        return Finetune(
            backbone=self._backbone(spec.backbone, role),
            data=data,
            view=self._target_view(spec, role),
            schedule=schedule,
            evaluation=evaluation,
            selection=self._selection(data, role),
            dropout=self.profile.dropout,
            videos_per_class=spec.videos_per_class,
            shuffled_labels=spec.shuffled_labels,
        )
