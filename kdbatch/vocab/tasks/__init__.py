"""Pretext tasks: the parameters, ladder and training of each; one file and one line of TASKS.

How a task samples clips, its model and its loss are in run/tasks/.
"""

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated

from kdbatch.base.lookup import lookup
from kdbatch.base.reading.field_facts import ClassByTag
from kdbatch.vocab.extensions.spec_table import SpecTable
from kdbatch.vocab.tasks import cvrl, prp, rotnet, rspnet, tdl, vcop
from kdbatch.vocab.tasks.spec import Complexity, PretextParameters, TaskSpec

__all__ = ["TASKS", "Complexity", "PretextTask", "TaskSpec"]

_BUILT_IN: dict[str, TaskSpec] = {
    "rotnet": rotnet.SPEC,
    "vcop": vcop.SPEC,
    "prp": prp.SPEC,
    "cvrl": cvrl.SPEC,
    "tdl": tdl.SPEC,
    "rspnet": rspnet.SPEC,
}
TASKS = SpecTable(_BUILT_IN, kind=TaskSpec, group="kdbatch.tasks")


def _parameters_of(name: str, where: str) -> type[PretextParameters]:
    return lookup(TASKS, name, where=where).parameters


if TYPE_CHECKING:
    PretextTask = PretextParameters
else:
    # The choices of a recipe's `task`, from which base/parse.py takes the one of that name.
    _Parameters = reduce(or_, (spec.parameters for spec in _BUILT_IN.values()))
    PretextTask = Annotated[_Parameters, ClassByTag("name", _parameters_of)]
