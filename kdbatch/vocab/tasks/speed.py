"""The frame rate that a video needs for tasks that judge speed."""

from kdbatch.vocab.tasks import TASKS, PretextTask
from kdbatch.vocab.views import View

# Nominal rates are met to a thousandth: 23.976 for 24, 29.97 for 30. A clip of 16 frames then
# repeats one in a hundred times.
NOMINAL = 0.998


def asked_fps(task: PretextTask, view: View) -> float:
    """The frames per second of the slowest clips of a task that judges speed; 0 for other tasks.

    A video of fewer would repeat frames in these clips and not, or less, in faster ones: counting
    the repeats would tell the speed. Faster clips take fewer frames per second.
    """
    finest_step = TASKS[task.name].finest_step
    return view.fps / finest_step(task, view.stride_frames) if finest_step else 0.0
