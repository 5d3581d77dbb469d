"""Estimates what a run will cost: at the speed of finished runs like it, or at an assumed one."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from kdbatch.base.errors import UserError
from kdbatch.plan.costs.finished import FinishedRun
from kdbatch.plan.costs.rates import H200, CpuCore, Device, seconds_of
from kdbatch.plan.costs.speeds import Key, MeasuredSpeed, Observation, measured_speeds
from kdbatch.plan.costs.work import Work, other_work, training_work
from kdbatch.plan.subsets import SubsetFinder
from kdbatch.vocab.backbones import BACKBONE_SPECS, Backbone
from kdbatch.vocab.plans.plan import DeviceKind, Estimate
from kdbatch.vocab.recipes.compare import Compare
from kdbatch.vocab.recipes.distill import Distill
from kdbatch.vocab.recipes.finetune import Finetune
from kdbatch.vocab.recipes.imported import Import
from kdbatch.vocab.recipes.pretrain import Pretrain
from kdbatch.vocab.recipes.recipe import Recipe, subsets_of
from kdbatch.vocab.runs.run import Run
from kdbatch.vocab.views import View

START_SECONDS = 2.0  # a worker's Python and torch, before its run begins
FRAMES_BEFORE = 8  # that are read for the first frame of a clip: half a group of pictures

DEVICES: Mapping[DeviceKind, Device] = {"GPU": H200(), "CPU": CpuCore()}
"""The devices whose speed is assumed where no run like this one has finished."""


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """The two parts of a run's work."""

    training: Work
    other: Work

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """The titles of the networks whose speed was not measured."""
        networks = [network for network, _ in self.training.passes + self.other.passes]
        kinds = dict.fromkeys(network.kind for network in networks)
        return tuple(BACKBONE_SPECS[k].title for k in kinds if BACKBONE_SPECS[k].speed is None)

    def seconds(self, recipe: Recipe, device: Device) -> tuple[float, float]:
        """The assumed device-seconds of both."""
        network = None if isinstance(recipe, Compare) else recipe.backbone
        view = _view_of(recipe)
        if view is None:
            return 0.0, 0.0
        both = (self.training, self.other)
        training, other = (seconds_of(w, view, network, device=device) for w in both)
        return training, other


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """Estimates the runs of a plan. `runs` has them by id; `finished` are runs that tell speeds.

    Where there are no GPUs (`has_gpus`), every run is estimated for CPUs.
    """

    runs: Mapping[str, Run]
    subsets: SubsetFinder
    finished: Sequence[FinishedRun]
    has_gpus: bool

    def estimate(self, run: Run, *, num_gpus: int) -> Estimate:
        """The cost of a run of the plan that requests `num_gpus` GPUs."""
        kind: DeviceKind = "GPU" if self.has_gpus and num_gpus else "CPU"
        parts = self._parts(run)
        assumed = sum(parts.seconds(run.recipe, DEVICES[kind]))
        speed = self._speed(kind, run)
        seconds = speed.seconds(assumed) if speed else assumed
        return Estimate(
            device=kind,
            device_title=speed.device if speed else DEVICES[kind].title,
            num_measured=speed.num_runs if speed else 0,
            unmeasured=() if speed else parts.unmeasured,
            device_hours=(START_SECONDS + seconds) / 3600 if assumed else 0.0,
            read_bytes=self._read_bytes(run.recipe, parts),
        )

    def _speed(self, kind: DeviceKind, run: Run) -> MeasuredSpeed | None:
        found = (self._speeds.get((kind, *key)) for key in self._keys(run))
        return next((speed for speed in found if speed), None)

    @cached_property
    def _speeds(self) -> Mapping[Key, MeasuredSpeed]:
        return measured_speeds(self._observations())

    @cached_property
    def _all_runs(self) -> Mapping[str, Run]:
        return {**{each.run.id: each.run for each in self.finished}, **self.runs}

    def _observations(self) -> Iterator[tuple[Key, Observation]]:
        for each in self.finished:
            kind: DeviceKind = "CPU" if each.done.provenance.device.startswith("cpu") else "GPU"
            observation = self._observe(each, DEVICES[kind])
            if observation is None:
                continue
            for key in self._keys(each.run):
                yield (kind, *key), observation

    def _observe(self, each: FinishedRun, device: Device) -> Observation | None:
        """The time of a finished run; None where its work is not known.

        A run of another plan may have had teachers that are gone, or a data set that has other
        splits, is damaged, or is unknown today.
        """
        if not all(parent in self._all_runs for parent in each.run.parents):
            return None
        try:
            for data in subsets_of(each.run.recipe):
                if data.split not in self.subsets.dataset(data.dataset).part_of:
                    return None
            parts = self._parts(each.run)
        except UserError:
            return None
        training, other = parts.seconds(each.run.recipe, device)
        if training + other <= 0:
            return None
        rate = each.done.facts.clips_per_second
        seconds = (each.done.seconds or 0.0) * each.num_devices
        timed = each.num_devices * parts.training.videos / rate if rate else 0.0
        return Observation(
            device=each.done.provenance.device or "unknown device",
            assumed_training=training,
            assumed_other=other,
            took_training=min(seconds, timed),
            took=seconds,
        )

    def _keys(self, run: Run) -> Iterator[Key]:
        """The properties that a run's speed depends on, then the same without its pretext task."""
        recipe = run.recipe
        networks = self._compared(run) if isinstance(recipe, Compare) else (recipe.backbone,)
        trained = recipe.trained if isinstance(recipe, Finetune) else ""
        view = _view_of(recipe)
        size = (view.num_frames, view.size_pixels) if view else ()
        key = (recipe.kind, trained, networks, size)
        if isinstance(recipe, Pretrain):
            yield (*key, recipe.task.name, recipe.task.complexity)
        yield key

    def num_videos(self, recipe: Recipe) -> tuple[int, int]:
        """The videos that a run is trained on or shown, with those that it holds out, and those
        that it is tested with.
        """
        counts = [self.subsets.count(subset) for subset in subsets_of(recipe)]
        num_videos, num_test_videos, *_ = (*counts, 0, 0)
        if isinstance(recipe, Finetune | Distill) and recipe.videos_per_class:
            num_videos = min(num_videos, recipe.videos_per_class * recipe.data.num_classes)
        return num_videos, num_test_videos

    def _parts(self, run: Run) -> _Parts:
        recipe, compared = run.recipe, self._compared(run)
        num_videos, num_test_videos = self.num_videos(recipe)
        teachers = self._backbones(run.teachers) if isinstance(recipe, Distill) else ()
        return _Parts(
            training=training_work(recipe, num_videos=num_videos, teachers=teachers),
            other=other_work(
                recipe, num_videos=num_videos, num_test_videos=num_test_videos, compared=compared
            ),
        )

    def _compared(self, run: Run) -> tuple[Backbone, ...]:
        """The networks of a CKA map; none for another run."""
        if not isinstance(run.recipe, Compare):
            return ()
        untrained = run.recipe.untrained
        return (untrained,) if untrained else self._backbones(run.parents)

    def _backbones(self, run_ids: Sequence[str]) -> tuple[Backbone, ...]:
        recipes = [self._all_runs[run_id].recipe for run_id in run_ids]
        networks = (recipe.backbone for recipe in recipes if not isinstance(recipe, Compare))
        return tuple(network for network in networks if network)

    def _read_bytes(self, recipe: Recipe, parts: _Parts) -> float:
        """The bytes of the packets that all clips of the run are decoded from."""
        view = _view_of(recipe)
        if view is None:
            return 0.0
        data = subsets_of(recipe)[0]
        num_bytes, seconds = self.subsets.bytes_per_video(data.dataset, data.split)
        share = (view.window_frames + FRAMES_BEFORE) / view.fps / seconds
        return (parts.training.clips + parts.other.clips) * num_bytes * min(1.0, share)


def _view_of(recipe: Recipe) -> View | None:
    """The clips that a run reads; None for an import that reads no video."""
    if isinstance(recipe, Import):
        return recipe.classifier.view if recipe.backbone and recipe.classifier else None
    return recipe.view
