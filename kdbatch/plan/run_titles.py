"""Titles of runs, by which `kdbatch status` and the logs name them."""

from collections.abc import Sequence

from kdbatch.plan.specs import PretrainSpec, StudentSpec, TeacherSpec
from kdbatch.vocab.backbones import BACKBONE_SPECS
from kdbatch.vocab.tasks import TASKS


def pretrain_title(spec: PretrainSpec, *, backbone: str) -> str:
    task = f"{TASKS[spec.task].title} C{spec.complexity}"
    return f"pretrain {BACKBONE_SPECS[backbone].title} by {task} on {spec.dataset}[:{spec.subset}]"


def teacher_title(spec: TeacherSpec) -> str:
    """The network, its pretraining and its target."""
    task, data = _task_and_data(spec)
    return f"{BACKBONE_SPECS[spec.backbone].title} ({task}{data}) on {spec.target}"


def student_title(spec: StudentSpec, teachers: Sequence[tuple[TeacherSpec, int]]) -> str:
    """The network, its target and its teachers, each with its seed offset."""
    source = "labels only"
    if teachers:
        source = f"{_teachers_title(teachers, student=spec.backbone)} ({spec.weighting})"
    return f"train {BACKBONE_SPECS[spec.backbone].title} on {spec.target} from {source}"


def _teachers_title(teachers: Sequence[tuple[TeacherSpec, int]], *, student: str) -> str:
    """Teachers are named by their pretraining, because T1 of one experiment or case is not T1 of
    another. A data set that all of them share is named once.
    """
    tasks, datas = [], []
    for spec, seed_offset in teachers:
        task, data = _task_and_data(spec)
        network = "" if spec.backbone == student else f"{BACKBONE_SPECS[spec.backbone].title} "
        seed = f"@{seed_offset}" if seed_offset else ""
        tasks.append(f"{network}{task}{seed}")
        datas.append(data)
    if len(set(datas)) == 1:
        return " + ".join(tasks) + datas[0]
    return " + ".join(task + data for task, data in zip(tasks, datas, strict=True))


def _task_and_data(spec: TeacherSpec) -> tuple[str, str]:
    pretrain = spec.pretrain
    if pretrain is None:
        return "random weights", ""
    task = f"{TASKS[pretrain.task].title} C{pretrain.complexity}"
    return task, f" on {pretrain.dataset}[:{pretrain.subset}]"
