"""The parts that recipes of several kinds have: networks, views, videos and tests."""

import dataclasses
from dataclasses import dataclass

from kdbatch.base.errors import UserError
from kdbatch.base.lookup import lookup
from kdbatch.base.parse import parse
from kdbatch.plan.profiles.changes import changed
from kdbatch.plan.profiles.profile_file import Profile
from kdbatch.plan.runs.registry import RunRegistry
from kdbatch.plan.specs import PretrainSpec, StudentSpec, TeacherSpec
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.recipes.evaluation import Evaluation, Selection
from kdbatch.vocab.shards.subset import Subset
from kdbatch.vocab.views import CENTER_CROP, SQUARE_SIDE, Augment, View


@dataclass(frozen=True)
class RecipeParts:
    """Finds the parts of recipes that the specs of one experiment name. `registry` finds subsets,
    `where` is the file, `fold` that of all data sets that have it.

    Every method raises a UserError that names the role if a name in a spec is unknown or its data
    set never had so many videos.
    """

    registry: RunRegistry
    profile: Profile
    where: str
    fold: int = 1

    def _backbone(self, kind: str, role: str) -> Backbone:
        lookup(BACKBONE_SPECS, kind, where=f"{self.where}: {role}.backbone")
        fields = {"kind": kind, "width": self.profile.widths.get(kind, Backbone.width)}
        return parse(Backbone, fields, where=f"profile.widths.{kind}")

    def _view(self, augment: Augment) -> View:
        return View(**dataclasses.asdict(self.profile.clip), augment=augment)

    def _target_view(self, spec: TeacherSpec | StudentSpec, role: str) -> View:
        crop = self.profile.finetune_crop if spec.crop == "profile" else spec.crop
        augment = CENTER_CROP if crop == "center" else Augment(crop=crop)
        if crop == "random":
            augment = Augment(crop="random", square_side=SQUARE_SIDE)
        where = f"{self.where}: {role}.augment"
        if "crop" in spec.augment:
            raise UserError(f"{where}.crop: is a field of {role} itself. Write it there.")
        return self._view(changed(augment, spec.augment, where=where))

    def _pretrain_data(self, spec: PretrainSpec, *, where: str) -> Subset:
        subsets = self.registry.subsets
        known = subsets.datasets.find(spec.dataset, where=f"{where}: data set")
        subset = subsets.find(spec.dataset, known.pretrain_split, spec.subset, where=where)
        if spec.without:
            return subsets.leave_out(subset, spec.without, where=f"{where}.without")
        lists = self.profile.without.get(spec.dataset, ())
        return subsets.leave_out(subset, lists, where=f"profile: without.{spec.dataset}")

    def _target(self, dataset: str, role: str) -> tuple[Subset, Evaluation]:
        """The training videos of a target, and how networks are tested on it."""
        test = self._subset(dataset, "test", "all", role)
        evaluation = Evaluation(
            test=test, num_clips=self.profile.num_eval_clips, num_crops=self.profile.num_eval_crops
        )
        return self._subset(dataset, "train", "all", role), evaluation

    def _subset(self, dataset: str, use: str, size: str, role: str) -> Subset:
        where = f"{self.where}: {role}"
        subsets = self.registry.subsets
        known = subsets.datasets.find(dataset, where=f"{where}: data set")
        if not known.num_classes:
            raise UserError(
                f"{where}: {dataset} has no labels, so it cannot be a target. Add a column of "
                "labels or class folders, or name it under pretrain alone."
            )
        splits = {
            "train": known.train_split,
            "test": known.test_split,
        }
        split = known.split_of_fold(splits[use], self.fold)
        return subsets.find(dataset, split, size, where=where)

    def _selection(self, data: Subset, role: str) -> Selection | None:
        selection = self.profile.selection.get(data.dataset)
        num_videos = self.registry.subsets.count(data)
        if selection and round(selection.share * num_videos) < 1:
            raise UserError(
                f"{self.where}: {role}: the profile's selection.{data.dataset}.share is "
                f"{selection.share:g}, which is no video of the {num_videos:,} of {data.title}. "
                "Raise it in the profile, or leave selection out to keep the last epoch."
            )
        return selection
