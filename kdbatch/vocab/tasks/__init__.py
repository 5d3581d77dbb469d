"""Pretext tasks: the parameters, ladder and training of each; one file and one line of TASKS.

How a task samples clips, its model and its loss are in run/tasks/.
"""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

from kdbatch.vocab.tasks import cvrl, prp, rotnet, rspnet, tdl, vcop
from kdbatch.vocab.tasks.spec import Complexity, PretextParameters, TaskSpec

__all__ = ["TASKS", "Complexity", "PretextTask", "TaskSpec"]

TASKS: dict[str, TaskSpec] = {
    "rotnet": rotnet.SPEC,
    "vcop": vcop.SPEC,
    "prp": prp.SPEC,
    "cvrl": cvrl.SPEC,
    "tdl": tdl.SPEC,
    "rspnet": rspnet.SPEC,
}

if TYPE_CHECKING:
    PretextTask = PretextParameters
else:
    # The choices of a recipe's `task`, from which base/parse.py takes the one of that name.
    PretextTask = reduce(or_, (spec.parameters for spec in TASKS.values()))
