"""Titles of runs, by which `kdbatch status` and the logs name them, and of values of axes."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from kdbatch.plan.profiles.scales import ClipScale
from kdbatch.plan.specs import PretrainSpec, StudentSpec, TeacherSpec
from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.datasets import DATASETS
from kdbatch.vocab.plans.declarations import Map
from kdbatch.vocab.sources.dataset_source import DatasetSource
from kdbatch.vocab.tasks import TASKS

_LOSS_FIELDS = (
    "temperature",
    "soft_weight",
    "max_teacher_weight",
    "teacher_dropping",
    "feature_weight",
)
_LABEL_FIELDS = (
    "hard_weight",
    "label_smoothing",
    "videos_per_class",
)


def pretrain_title(spec: PretrainSpec, *, backbone: str) -> str:
    task = f"{TASKS[spec.task].title} C{spec.complexity}"
    return f"pretrain {BACKBONE_SPECS[backbone].title} by {task} on {_data_title(spec)}"


def import_title(spec: TeacherSpec) -> str:
    if spec.outputs:
        return f"import outputs of {spec.outputs} on {spec.target}"
    target = f" as a classifier of {spec.target}" if spec.classes else ""
    return f"import {BACKBONE_SPECS[spec.backbone].title} from {spec.weights}{target}"


def teacher_title(spec: TeacherSpec) -> str:
    """The network, its pretraining, its target, and its crop and labels if they are its own."""
    task, data = _task_and_data(spec)
    title = f"{BACKBONE_SPECS[spec.backbone].title} ({task}{data}) on {spec.target}"
    crop = [] if spec.crop == "profile" else [f"{spec.crop} crop"]
    return ", ".join([title, *crop, *_settings_of_teacher(spec)])


def student_title(
    spec: StudentSpec,
    teachers: Sequence[tuple[TeacherSpec, int]],
    *,
    start: TeacherSpec | None = None,
) -> str:
    """The network, its target and its teachers, each with its seed offset; then each setting that
    is not the default, so that students that differ in it have different titles. `start` is the
    teacher whose pretrained weights it starts from.
    """
    source, settings = "labels only", _settings(spec, _LABEL_FIELDS)
    if teachers:
        smoothed = ["smoothed labels"] if spec.soft_target == "smoothed-labels" else []
        numbers = _settings(spec, (*_LOSS_FIELDS, *_LABEL_FIELDS))
        settings = [spec.weighting, *_loss_title(spec), *smoothed, *numbers, *_features(spec)]
        source = _teachers_title(teachers, student=spec)
    if start:
        settings.append(f"starts from {''.join(_task_and_data(start))}")
    if spec.accuracy_of:
        settings.append(f"accuracy of {spec.accuracy_of}")
    if spec.crop != "profile":
        settings.append(f"{spec.crop} crop")
    settings += _changes(spec.schedule, spec.augment)
    network = BACKBONE_SPECS[spec.backbone].title
    return f"train {network} on {spec.target} from {source}" + (
        f" ({', '.join(settings)})" if settings else ""
    )


def map_title(drawn: Map, *, target: str, experiment: str, case: Mapping[str, str]) -> str:
    """The networks of a CKA map; their roles have a meaning in their experiment and case alone."""
    networks = "untrained " + drawn.models[0] if drawn.untrained else " and ".join(drawn.models)
    title = f"CKA of {networks} on {target} in {experiment}"
    values = [f"{axis} {value}" for axis, value in case.items() if value != target]
    if drawn.layers != Map.layers:
        values.append(f"layers {drawn.layers}")
    return f"{title} at {', '.join(values)}" if values else title


def timeline_title(clip: ClipScale, usual: ClipScale) -> str:
    """` at 12 fps` for runs whose clips are not on the profile's timeline; empty for others."""
    parts = []
    if clip.fps != usual.fps:
        parts.append(f"{clip.fps:g} fps")
    if clip.stride_frames != usual.stride_frames:
        parts.append(f"stride {clip.stride_frames}")
    return f" at {', '.join(parts)}" if parts else ""


def value_titles(
    axes: Mapping[str, Sequence[str]], datasets: Mapping[str, DatasetSource]
) -> dict[str, str]:
    """The titles of values that name one of the study's `datasets`, or what another package adds
    (PlanRecord.titles). Where two have the same title, the name follows it.
    """
    found = {}
    for value in dict.fromkeys(value for values in axes.values() for value in values):
        tables = [table for table in (BACKBONE_SPECS, TASKS) if value in table.entries]
        title = tables[0][value].title if tables else ""
        if value in datasets and value not in DATASETS:
            title = datasets[value].title
        if title:
            found[value] = title
    titles = list(found.values())
    return {
        value: title if titles.count(title) == 1 else f"{title} ({value})"
        for value, title in found.items()
    }


def _settings(spec: StudentSpec, names: Sequence[str]) -> list[str]:
    """`temperature 8` for each of these fields that does not have its default."""
    defaults = {field.name: field.default for field in dataclasses.fields(spec)}
    values = {name: getattr(spec, name) for name in names}
    return [
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in values.items()
        if value != defaults[name]
    ]


def _loss_title(spec: StudentSpec) -> list[str]:
    """`dkd 1 + 4`, and whether logits are standardised; nothing for the usual loss."""
    terms = " + ".join(f"{weight:g}" for weight in spec.loss_terms)
    loss = [f"{spec.loss} {terms}".rstrip()] if spec.loss != StudentSpec.loss else []
    return [*loss, *(["standardised logits"] if spec.standardized_logits else [])]


def _features(spec: StudentSpec) -> list[str]:
    """How feature maps are compared, if they are."""
    if not spec.feature_weight:
        return []
    loss = [] if spec.feature_loss == StudentSpec.feature_loss else [spec.feature_loss]
    return [*loss, *spec.feature_layers]


def _teachers_title(teachers: Sequence[tuple[TeacherSpec, int]], *, student: StudentSpec) -> str:
    """Teachers are named by their pretraining, because T1 of one experiment or case is not T1 of
    another. A data set that all of them share is named once, and a crop that the student has, too,
    not at all.
    """
    tasks, datas = [], []
    for spec, seed_offset in teachers:
        task, data = _task_and_data(spec)
        is_named = spec.backbone not in ("", student.backbone)
        network = f"{BACKBONE_SPECS[spec.backbone].title} " if is_named else ""
        seed = f"@{seed_offset}" if seed_offset else ""
        crop = [] if spec.crop == student.crop else [f"{spec.crop} crop"]
        labels = "".join(f" with {text}" for text in [*crop, *_settings_of_teacher(spec)])
        tasks.append(f"{network}{task}{seed}{labels}")
        datas.append(data)
    if len(set(datas)) == 1:
        return " + ".join(tasks) + datas[0]
    return " + ".join(task + data for task, data in zip(tasks, datas, strict=True))


def _settings_of_teacher(spec: TeacherSpec) -> list[str]:
    """Number of videos per class, shuffled labels, and what differs from the profile."""
    count = f"{spec.videos_per_class} videos per class" if spec.videos_per_class else ""
    labels = [text for text in (count, "shuffled labels" if spec.shuffled_labels else "") if text]
    return [*labels, *_changes(spec.schedule, spec.augment)]


def _task_and_data(spec: TeacherSpec) -> tuple[str, str]:
    if spec.file_field:
        return f"{spec.file_field} of {spec.weights or spec.outputs}", ""
    pretrain = spec.pretrain
    if pretrain is None:
        return "random weights", ""
    task = f"{TASKS[pretrain.task].title} C{pretrain.complexity}"
    return task, f" on {_data_title(pretrain)}"


def _changes(*changes: Mapping[str, Any]) -> list[str]:
    """`lr 0.01` for each field that is not the profile's, in the order of the file."""
    return [
        f"{name.replace('_', ' ')} {value:g}"
        if isinstance(value, float)
        else f"{name.replace('_', ' ')} {value}"
        for own in changes
        for name, value in own.items()
    ]


def _data_title(spec: PretrainSpec) -> str:
    without = f" without {' and '.join(spec.without)}" if spec.without else ""
    own = " and ".join(_changes(spec.schedule, spec.augment))
    return f"{spec.dataset}[:{spec.subset}]{without}{' with ' if own else ''}{own}"
